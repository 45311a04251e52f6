"""Tables and figures of sparsity and drift say what was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_checkpoint
import tiny_families

from iclprobe.analyses.weights.drift import DriftStudy, drift
from iclprobe.analyses.weights.sparsity import Sparsity, sparsity
from iclprobe.reports.plain_table import aligned, number
from iclprobe.reports.style import png_bytes


@pytest.fixture(scope="module")
def study() -> Sparsity:
    model: Any = tiny_families.build("llama")
    return sparsity(model, thresholds=(1e-1, 1e-2), matrices=("query", "value"))


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> DriftStudy:
    folder = tmp_path_factory.mktemp("series")
    return drift(
        [str(tiny_checkpoint.write_checkpoint(folder / f"step{seed}", seed=seed)) for seed in range(3)]
    )


def lines(axes: Any) -> dict[str, np.ndarray]:
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.get_lines()}


def test_the_threshold_figure_draws_the_means_over_layers(study: Sparsity) -> None:
    absolute, relative = study.plot().axes
    assert lines(absolute)["W_V"].tolist() == pytest.approx((100 * study.averaged("value").flip(0)).tolist())
    want = (100 * study.averaged("query", relative=True).flip(0)).tolist()
    assert lines(relative)["W_Q"].tolist() == pytest.approx(want)
    assert set(lines(absolute)) == {"W_Q", "W_V", "constructed W_Q, W_K", "constructed W_V"}


def test_the_layer_figure_has_a_panel_a_matrix_and_a_line_a_threshold(study: Sparsity) -> None:
    query, value = study.plot_layers().axes
    assert (query.get_title(), value.get_title()) == ("W_Q", "W_V")
    want = [100 * float(row.below[1]) for row in study.of("value")]
    assert lines(value)["0.01"].tolist() == pytest.approx(want)


def test_the_head_figure_needs_a_threshold_that_was_measured(study: Sparsity) -> None:
    panel = study.plot_heads(1e-2).axes[0]
    rows = [row.head_below for row in study.of("query")]
    want = np.stack([100 * row[:, 1].numpy() for row in rows if row is not None])
    assert np.allclose(np.asarray(panel.images[0].get_array()), want)
    with pytest.raises(ValueError, match=r"0\.5 was not measured"):
        study.plot_heads(0.5)


def test_the_gap_figure_draws_the_parameter_gaps(moved: DriftStudy) -> None:
    (panel,) = moved.plot().axes
    want = moved.parameter_gap("first").numpy()
    assert np.array_equal(lines(panel)["to the first"], want, equal_nan=True)
    assert [text.get_text() for text in panel.get_xticklabels()] == ["0", "1", "2"]


def test_the_layer_and_pair_figures_draw_what_the_study_holds(moved: DriftStudy) -> None:
    image = np.asarray(moved.plot_layers().axes[1].images[0].get_array())
    gaps = {
        (row.layer, row.checkpoint): row.drift.relative_frobenius
        for row in moved.rows
        if row.matrix == "key" and row.against == "previous"
    }
    assert image.shape == (3, 2) and image[2, 0] == gaps[2, 1]
    assert np.array_equal(
        np.asarray(moved.plot_pairs().axes[0].images[0].get_array()), moved.pairwise.numpy()
    )
    assert png_bytes(moved.plot_pairs()).startswith(b"\x89PNG")


def test_tables_name_checkpoints_and_matrices(study: Sparsity, moved: DriftStudy) -> None:
    assert [line.split()[0] for line in str(moved).splitlines()[1:4]] == ["0", "1", "2"]
    assert "W_Q" in str(study) and "constructed W_V" in str(study) and "\nW_K" not in str(study)


def test_columns_are_aligned_and_undefined_numbers_are_dashes() -> None:
    assert aligned(["a", "long"], [["bbb", "1"]]) == ["a    long", "bbb     1"]
    assert (number(float("nan")), number(0.12345)) == ("–", "0.123")
