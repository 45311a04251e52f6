"""The figure of where finetuning wrote."""

from __future__ import annotations

import numpy as np
import pytest
from made_draws import made_comparison, made_draw


def test_it_draws_the_relative_norm_of_each_layer_and_matrix() -> None:
    (axes,) = made_comparison([made_draw(layers=(2, 0))]).plot("finetuning_drift").axes
    (line,) = axes.get_lines()
    assert line.get_label() == "W_K"
    assert np.asarray(line.get_xydata()).tolist() == [[0, pytest.approx(0.5)], [2, pytest.approx(2.5)]]


def test_the_table_says_where_finetuning_wrote_most() -> None:
    facts = dict(made_comparison([made_draw(layers=(2, 0))]).sheet().facts)
    assert facts["finetuning moved"] == "W_K by 150% of its norm, most in W_K of layer 2 (250%)"
