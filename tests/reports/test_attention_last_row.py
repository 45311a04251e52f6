"""What the last token attends to, layer by layer, read back from what was drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_attention import AWKWARD, WIDTHS, boxes_inside, drawn, labels_apart, lines, panels, texts, ticks
from made_attention import made_rows

from iclprobe.reports.attention_last_row import attention_last_row_figure, head_mean
from iclprobe.reports.attention_layout import MOST_CELLS


def test_the_last_row_is_drawn_layer_by_layer() -> None:
    rows = made_rows(2, 3, 4, layers=(0, 2, 5))
    figure = attention_last_row_figure(rows, 1, title="pocket")
    axes = panels(figure)[0]
    assert drawn(axes).data == pytest.approx(rows.values[:, 1, -1])
    assert not np.ma.getmaskarray(drawn(axes)).any() and figure.get_supxlabel() == "colours by square root"
    assert ticks(axes.yaxis) == ["0", "2", "5"] and ticks(axes.xaxis)[-1] == "␣b"
    assert axes.get_ylim()[0] < axes.get_ylim()[1], "the first layer stands at the bottom"
    assert figure.get_suptitle() == "pocket: icl, last token, head 1"
    assert lines(axes, "columns") == [0.5, 5.5, 10.5] and "1 positive" in texts(axes)
    selected = attention_last_row_figure(rows, 1, layers=[5])
    assert drawn(panels(selected)[0]).data == pytest.approx(rows.values[2:, 1, -1])


@pytest.mark.parametrize("kind", ["scores", "pattern"])
def test_the_mean_of_all_heads_is_the_loop_over_heads(kind: Any) -> None:
    rows = made_rows(2, 3, 4, kind=kind, window=6)
    mean = head_mean(rows)
    for layer in range(2):
        for row in range(15):
            for column in range(15):
                own = [rows.values[layer, head, row, column] for head in range(3)]
                expected = sum(own) / 3 if rows.visible[layer, 0, row, column] else np.nan
                assert mean[layer, row, column] == pytest.approx(expected, nan_ok=True)
    figure = attention_last_row_figure(rows)
    assert figure.get_suptitle() == "icl, last token, mean over heads 0–2"
    cells = drawn(panels(figure)[0])
    assert np.ma.getmaskarray(cells).tolist() == [[True] * 9 + [False] * 6] * 2
    assert cells[:, 9:].data == pytest.approx(mean[:, -1, 9:])


def test_heads_that_see_different_columns_share_a_mean() -> None:
    rows = made_rows(0, 1, 1, layers=(0,), heads=2)
    seen = np.array([[[[1, 0], [1, 1]], [[1, 0], [0, 1]]]], dtype=bool)
    values = np.array([[[[1.0, 9.0], [0.4, 0.6]], [[1.0, 9.0], [9.0, 1.0]]]])
    pattern = head_mean(replace(rows, visible=seen, values=values))
    assert pattern.tolist() == [[[1.0, pytest.approx(np.nan, nan_ok=True)], [0.2, 0.8]]]
    scores = head_mean(replace(rows, visible=seen, values=values, kind="scores"))
    assert scores.tolist() == [[[1.0, pytest.approx(np.nan, nan_ok=True)], [0.4, 0.8]]]


@WIDTHS
@pytest.mark.parametrize("depth", [1, 4, 80])
def test_last_rows_of_any_depth_and_length_can_be_read(width: float, depth: int) -> None:
    rows = made_rows(16, 9, 30, layers=tuple(range(depth)), last=2, chat=True, words=AWKWARD)
    figure = attention_last_row_figure(rows, width=width)
    axes = panels(figure)[0]
    boxes_inside(figure)
    labels_apart(axes.xaxis)
    labels_apart(axes.yaxis)
    assert drawn(axes).shape[0] == depth and drawn(axes).shape[1] <= MOST_CELLS
    assert np.ma.filled(drawn(axes), 0).sum(axis=1) == pytest.approx(1)
    assert "folded: " in figure.get_supxlabel()
