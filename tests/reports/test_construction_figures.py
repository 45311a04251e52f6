"""The figures of a study of the construction, read back from what was drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_construction import CONFIG, small_study

from iclprobe.analyses.construction.sparsity import sparsity_curves
from iclprobe.analyses.construction.sweeps import DESCENT, INTERPOLATED, TRAINED
from iclprobe.reports.construction_figures import agreement_figure, products_figure
from iclprobe.reports.construction_sparsity_figure import construction_sparsity_figure


def lines(axes: Any) -> dict[str, np.ndarray]:
    return {
        str(line.get_label()): np.asarray(line.get_xydata())
        for line in axes.get_lines()
        if not str(line.get_label()).startswith("_")
    }


def test_the_first_figure_draws_training_the_line_between_and_three_sweeps() -> None:
    study = small_study()
    figure = agreement_figure(study)
    differences, cosine, between, inputs, weights, counts = figure.axes
    drawn = lines(differences)
    assert set(drawn) == {"predictions", "sensitivities"}
    assert drawn["predictions"][:, 0].tolist() == list(study.training.steps)
    assert drawn["predictions"][-1, 1] == study.agreement.prediction_difference
    assert np.asarray(cosine.get_lines()[0].get_ydata())[-1] == study.agreement.sensitivity_cosine
    assert np.asarray(between.get_lines()[0].get_ydata()) == pytest.approx(
        study.interpolation.losses[INTERPOLATED].numpy()
    )
    assert set(lines(inputs)) == set(lines(weights)) == {TRAINED, DESCENT, INTERPOLATED}
    assert set(lines(counts)) == {TRAINED, DESCENT, f"P built for N = {CONFIG.demonstrations}"}
    assert lines(counts)[TRAINED][:, 0].tolist() == list(CONFIG.demonstration_counts)
    assert [label.get_text() for label in counts.get_xticklabels()] == ["1", "5", "20"]
    assert "N_x = 3, N_y = 2, N = 5" in figure.get_suptitle()


def test_the_second_figure_shows_trained_and_constructed_products_on_one_scale() -> None:
    study = small_study()
    figure = products_figure(study)
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [
        *("W_Kᵀ W_Q, trained", "W_Kᵀ W_Q, constructed"),
        *("P W_V, trained", "P W_V, constructed"),
    ]
    images = [axes.get_images()[0] for axes in panels]
    shown = [np.asarray(image.get_array()) for image in images]
    assert np.allclose(np.diag(shown[1]), [1, 1, 1, 0, 0])
    assert np.allclose(np.diag(shown[3])[3:], -study.step_size / CONFIG.demonstrations)
    assert shown[0][:3, :3] == pytest.approx(shown[1][:3, :3], abs=0.1)
    for trained, constructed in (images[:2], images[2:]):
        assert trained.get_clim() == constructed.get_clim()
        low, high = trained.get_clim()
        assert low == -high


def test_the_sparsity_figure_has_the_three_kinds_in_every_matrix() -> None:
    study = small_study()
    figure = construction_sparsity_figure(study.sparsity)
    panels = figure.axes
    assert len(panels) == 8
    assert [axes.get_title() for axes in panels[:4]] == ["W_Q", "W_K", "W_V", "products, rescaled"]
    width = study.sparsity.pretrained.width if study.sparsity.pretrained else 0
    assert set(lines(panels[0])) == {
        "constructed (d = 5)",
        "trained for ICL (d = 5)",
        f"pretrained on text (pocket, d = {width}, mean over layers)",
        f"zeros of the construction at d = {width}, N_x = N_y",
    }
    drawn = lines(panels[4])["trained for ICL (d = 5)"]
    assert drawn[:, 1] == pytest.approx(100 * study.sparsity.trained["query"].relative.numpy())
    assert len(figure.legends) == 2


def test_without_a_pretrained_model_two_kinds_remain() -> None:
    study = small_study()
    figure = construction_sparsity_figure(sparsity_curves(study.construction, study.trained))
    assert set(lines(figure.axes[2])) == {"constructed (d = 5)", "trained for ICL (d = 5)"}
    assert "pretrained" not in figure.get_suptitle()
