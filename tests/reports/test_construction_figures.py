"""The figures of a study of the construction, read back from what was drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_construction import CONFIG, SMALLEST, small_study, swept

from iclprobe import construction
from iclprobe.analyses.construction.sweeps import DESCENT, INTERPOLATED, LINE, TRAINED


def lines(axes: Any) -> dict[str, np.ndarray]:
    return {
        str(line.get_label()): np.asarray(line.get_xydata())
        for line in axes.get_lines()
        if not str(line.get_label()).startswith("_")
    }


def test_the_first_figure_draws_training_the_line_between_and_three_sweeps() -> None:
    study = small_study()
    figure = study.plot()
    differences, cosine, between, inputs, weights, counts = figure.axes
    drawn = lines(differences)
    assert set(drawn) == {"difference of predictions", "difference of sensitivities"}
    training = study.tables["training"]
    assert (
        drawn["difference of predictions"].tolist()
        == training[["step", "prediction_difference"]].to_numpy().tolist()
    )
    assert drawn["difference of sensitivities"][:, 1].tolist() == training["sensitivity_difference"].tolist()
    assert np.asarray(cosine.get_lines()[0].get_ydata()).tolist() == training["sensitivity_cosine"].tolist()
    assert np.asarray(between.get_lines()[0].get_ydata()).tolist() == swept(study, LINE, INTERPOLATED)
    assert set(lines(inputs)) == set(lines(weights)) == {TRAINED, DESCENT, INTERPOLATED}
    assert set(lines(counts)) == {TRAINED, DESCENT, f"P built for N = {CONFIG.demonstrations}"}
    assert lines(counts)[TRAINED][:, 0].tolist() == list(CONFIG.demonstration_counts)
    assert lines(counts)[DESCENT][:, 1].tolist() == swept(study, "demonstrations", DESCENT)
    assert [label.get_text() for label in counts.get_xticklabels()] == ["1", "5", "20"]
    assert "N_x = 3, N_y = 2, N = 5" in figure.get_suptitle()


def test_the_second_figure_shows_trained_and_constructed_products_on_one_scale() -> None:
    study = small_study()
    figure = study.plot("products")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [
        *("W_Kᵀ W_Q, trained", "W_Kᵀ W_Q, constructed"),
        *("P W_V, trained", "P W_V, constructed"),
    ]
    images = [axes.get_images()[0] for axes in panels]
    shown = [np.asarray(image.get_array()) for image in images]
    assert np.allclose(np.diag(shown[1]), [1, 1, 1, 0, 0])
    assert np.allclose(
        np.diag(shown[3])[3:], -study.tables["construction"]["step_size"].iloc[0] / CONFIG.demonstrations
    )
    assert shown[0][:3, :3] == pytest.approx(shown[1][:3, :3], abs=0.1)
    for trained, constructed in (images[:2], images[2:]):
        assert trained.get_clim() == constructed.get_clim()
        low, high = trained.get_clim()
        assert low == -high


def test_the_sparsity_figure_has_the_three_kinds_in_every_matrix() -> None:
    study = small_study()
    figure = study.plot("sparsity")
    panels = figure.axes
    assert len(panels) == 8
    assert [axes.get_title() for axes in panels[:4]] == ["W_Q", "W_K", "W_V", "products, rescaled"]
    assert set(lines(panels[0])) == {
        "constructed (d = 5)",
        "trained for ICL (d = 5)",
        "pretrained on text (pocket, d = 112, mean over layers)",
        "zeros of the construction at d = 112, N_x = N_y",
    }
    drawn = lines(panels[4])["trained for ICL (d = 5)"]
    sparsity = study.tables["sparsity"]
    trained = sparsity[(sparsity["weights"] == "trained for ICL") & (sparsity["matrix"] == "query")]
    assert drawn[:, 1] == pytest.approx(100 * trained["below_relative"].to_numpy())
    assert len(figure.legends) == 1 and panels[0].get_yscale() in ("log", "symlog")


def test_without_a_pretrained_model_two_kinds_remain() -> None:
    figure = construction(SMALLEST).plot("sparsity")
    assert set(lines(figure.axes[2])) == {"constructed (d = 5)", "trained for ICL (d = 5)"}
    assert "pretrained" not in figure.get_suptitle()
