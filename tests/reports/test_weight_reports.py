"""Tables and figures of sparsity and drift say what was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_checkpoint
import tiny_families
from weight_tables import averaged, between

from iclprobe import Study, drift, sparsity
from iclprobe.reports.drift import gaps_by_checkpoint
from iclprobe.reports.numbers import number
from iclprobe.reports.sparsity import head_figure, layer_figure
from iclprobe.reports.style import png_bytes


@pytest.fixture(scope="module")
def study() -> Study:
    model: Any = tiny_families.build("llama")
    return sparsity(model, thresholds=(1e-1, 1e-2), matrices=("query", "value"))


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("series")
    return drift(
        [str(tiny_checkpoint.write_checkpoint(folder / f"step{seed}", seed=seed)) for seed in range(3)]
    )


def lines(axes: Any) -> dict[str, np.ndarray]:
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.get_lines()}


def cells(axes: Any) -> np.ndarray:
    return np.asarray(axes.collections[0].get_array())


def test_the_threshold_figure_draws_the_means_over_layers(study: Study) -> None:
    absolute, relative = study.plot().axes
    assert lines(absolute)["W_V"].tolist() == pytest.approx((100 * averaged(study, "value").flip(0)).tolist())
    want = (100 * averaged(study, "query", "below_relative").flip(0)).tolist()
    assert lines(relative)["W_Q"].tolist() == pytest.approx(want)
    assert set(lines(absolute)) == {"W_Q", "W_V", "constructed W_Q, W_K", "constructed W_V"}


def test_the_layer_figure_has_a_panel_a_matrix_and_a_line_a_threshold(study: Study) -> None:
    query, value = study.plot("layers").axes
    assert (query.get_title(), value.get_title()) == ("W_Q", "W_V")
    fractions = study.tables["fractions"].query("matrix == 'value' and threshold == 0.01")
    assert lines(value)["δ = 0.01"].tolist() == pytest.approx((100 * fractions["below"]).tolist())
    relative = layer_figure(study.tables["fractions"], relative=True).axes[1]
    assert lines(relative)["δ (std) = 0.01"].tolist() == pytest.approx(
        (100 * fractions["below_relative"]).tolist()
    )


def test_the_head_figure_needs_a_threshold_that_was_measured(study: Study) -> None:
    heads = study.tables["heads"]
    panel = head_figure(heads, 1e-2).axes[0]
    found = heads.query("matrix == 'query' and threshold == 0.01")["below"].to_numpy()
    image = np.asarray(panel.images[0].get_array())
    assert image.shape[1] == 4 and np.array_equal(image, 100 * found.reshape(image.shape))
    with pytest.raises(ValueError, match=r"0\.5 was not measured"):
        head_figure(heads, 0.5)


def test_the_gap_figure_draws_the_parameter_gaps(moved: Study) -> None:
    (panel,) = moved.plot().axes
    want = gaps_by_checkpoint(moved.tables["gaps"], "first")
    assert np.array_equal(lines(panel)["gap to the first"], want, equal_nan=True)
    assert [text.get_text() for text in panel.get_xticklabels()] == ["0", "1", "2"]


def test_the_layer_and_pair_figures_draw_what_the_study_holds(moved: Study) -> None:
    image = cells(moved.plot("layers").axes[1])
    rows = moved.tables["drift"].query("matrix == 'key' and against == 'previous'")
    gaps = rows.set_index(["layer", "place"])["relative_frobenius"]
    assert image.shape == (3, 2) and image[2, 0] == gaps[2, 1]
    assert np.array_equal(cells(moved.plot("pairs").axes[0]), between(moved).numpy())
    assert png_bytes(moved.plot("pairs")).startswith(b"\x89PNG")


def test_tables_name_checkpoints_and_matrices(study: Study, moved: Study) -> None:
    said = [line.split() for line in str(moved).splitlines()]
    header = next(place for place, words in enumerate(said) if words[:1] == ["checkpoint"])
    assert [words[0] for words in said[header + 1 : header + 4]] == ["0", "1", "2"]
    assert "W_Q" in str(study) and "constructed W_V" in str(study) and "\nW_K" not in str(study)


def test_undefined_numbers_are_dashes() -> None:
    assert (number(float("nan")), number(0.12345)) == ("–", "0.123")
