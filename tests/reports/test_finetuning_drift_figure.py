"""The figure of where finetuning wrote."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
from made_draws import made_comparison, made_draw

from iclprobe.reports.finetuning_drift_figure import finetuning_drift_figure


def test_it_draws_the_relative_norm_of_each_layer_and_matrix() -> None:
    (axes,) = made_comparison([made_draw(layers=(2, 0))]).plot("finetuning_drift").axes
    (line,) = axes.get_lines()
    assert line.get_label() == "W_K"
    assert np.asarray(line.get_xydata()).tolist() == [[0, pytest.approx(0.5)], [2, pytest.approx(2.5)]]


def test_the_table_says_where_finetuning_wrote_most() -> None:
    facts = dict(made_comparison([made_draw(layers=(2, 0))]).sheet().facts)
    assert facts["finetuning moved"] == "W_K by 150% of its norm, most in W_K of layer 2 (250%)"


def test_matrices_that_finetuning_left_alone_are_named_and_not_drawn() -> None:
    rows = [
        {
            "seed": seed,
            "layer": layer,
            "matrix": matrix,
            "relative_frobenius": size * (seed + 1) * (layer != 1),
        }
        for seed in (0, 1)
        for matrix, size in (("query", 0.0), ("value", 0.1))
        for layer in range(3)
    ]
    figure = finetuning_drift_figure(pandas.DataFrame(rows))
    drawn = {line.get_label(): np.asarray(line.get_ydata()) for line in figure.axes[0].get_lines()}
    assert list(drawn) == ["W_V"] and np.isnan(drawn["W_V"]).tolist() == [False, True, False]
    note = figure.get_supxlabel()
    assert "left out: W_Q" in note and "layers without a point were not changed" in note
