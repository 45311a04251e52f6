"""Attention rows refuse what does not belong together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_attention import boxes_inside
from made_attention import made_rows

from iclprobe.errors import UserError
from iclprobe.reports.attention_heads import attention_heads_figure
from iclprobe.reports.attention_last_row import attention_last_row_figure
from iclprobe.reports.attention_map import attention_map_figure
from iclprobe.reports.attention_rows import SpanMark


def test_what_is_not_among_the_rows_is_refused_by_name() -> None:
    rows = made_rows()
    with pytest.raises(UserError, match=r"layer 1 is not among the attention rows: choose from \[0, 2\]"):
        attention_map_figure(rows, 1, 0)
    with pytest.raises(UserError, match=r"head 3 is not among the attention rows: choose from \[0, 1, 2\]"):
        attention_last_row_figure(rows, 3)
    with pytest.raises(UserError, match=r"no layer is named: name at least one of \[0, 2\]"):
        attention_heads_figure(rows, [])


@pytest.mark.parametrize("width", [0, -1, 2, 21, float("nan"), float("inf")])
def test_a_width_at_which_nothing_can_be_read_is_refused(width: float) -> None:
    rows = made_rows()
    for draw in (
        lambda: attention_map_figure(rows, 0, 0, width=width),
        lambda: attention_last_row_figure(rows, width=width),
        lambda: attention_heads_figure(rows, width=width),
    ):
        with pytest.raises(
            UserError, match=r"2.5 to 20 inches wide, not .*: a paper's column has 3.3, two have 6.9"
        ):
            draw()


def test_the_narrowest_and_the_widest_figure_are_drawn_within_their_size() -> None:
    rows = made_rows(8, 20, 14, heads=2)
    for width in (2.5, 20):
        for figure in (
            attention_map_figure(rows, 0, 0, width=width),
            attention_last_row_figure(rows, width=width),
            attention_heads_figure(rows, width=width),
        ):
            boxes_inside(figure)


def test_arrays_and_names_that_do_not_belong_together_are_refused() -> None:
    rows = made_rows()
    with pytest.raises(UserError, match=r"\(2, 3, 15, 15\) do not hold \(1, 3, 15, 15\)"):
        replace(rows, layers=(0,))
    with pytest.raises(UserError, match=r"bool array of shape .* they are float64"):
        replace(rows, visible=rows.values)
    with pytest.raises(UserError, match=r"bool array of shape .* of shape \(2, 2, 15, 15\)"):
        replace(rows, visible=np.ones((2, 2, 15, 15), dtype=bool))
    with pytest.raises(UserError, match="span 'query' of the rows from 3 to 2"):
        replace(rows, row_spans=(SpanMark("query", 3, 2),))
    with pytest.raises(UserError, match="span 'query' of the columns from 1 to 16"):
        replace(rows, column_spans=(SpanMark("query", 1, 16),))
    with pytest.raises(UserError, match="scores or pattern, not 'values'"):
        replace(rows, kind="values")
