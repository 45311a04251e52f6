"""All heads of some layers, read back from what was drawn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from drawn_attention import WIDTHS, boxes_inside, drawn, labels_apart, lines, panels, ticks
from made_attention import made_rows

from iclprobe.errors import UserError
from iclprobe.reports.attention_heads import Grid, attention_heads_figure, grid_of
from iclprobe.reports.attention_map import attention_map_figure


def test_brackets_stand_over_their_cells_outside_the_panel() -> None:
    figure = attention_map_figure(made_rows(2, 6, 4), 0, 0)
    figure.draw_without_rendering()
    axes = panels(figure)[0]
    panel = axes.get_window_extent()
    for name, first, last in (("1 positive", 1, 8), ("query", 17, 20)):
        above, beside = (text for text in axes.texts if text.get_text() == name)
        box = above.get_window_extent()
        ends = axes.transData.transform([(first - 0.5, 0), (last + 0.5, 0)])[:, 0]
        assert box.y0 > panel.y1 and ends[0] <= box.x0 and box.x1 <= ends[1]
        box = beside.get_window_extent()
        ends = axes.transData.transform([(0, first - 0.5), (0, last + 0.5)])[:, 1]
        assert box.x0 > panel.x1 and ends[1] <= box.y0 and box.y1 <= ends[0]


def test_all_heads_share_one_scale_and_one_colour_bar() -> None:
    rows = made_rows(2, 3, 4, layers=(0, 2, 5), heads=7)
    figure = attention_heads_figure(rows, [2])
    found = panels(figure)
    assert [axes.get_title() for axes in found] == [f"head {head}" for head in range(7)]
    assert {axes.get_images()[0].get_clim() for axes in found} == {(0, 1)}
    assert len(figure.axes) == 8
    for head, axes in enumerate(found):
        cells = drawn(axes)
        assert cells.compressed() == pytest.approx(rows.values[1, head][np.tril_indices(15)])
        assert lines(axes, "columns") == [0.5, 5.5, 10.5]
    assert figure.get_suptitle() == "icl, layer 2"
    assert ticks(found[0].yaxis) == ticks(found[-1].xaxis) == ["begin", "1 positive", "2 negative", "query"]
    assert ticks(found[1].yaxis) == []


def test_several_layers_begin_lines_of_their_own() -> None:
    figure = attention_heads_figure(made_rows(2, 3, 4, layers=(0, 2, 5), heads=4), [0, 5], [1, 3])
    found = panels(figure)
    assert [axes.get_title() for axes in found] == [
        f"layer {layer}, head {head}" for layer in (0, 5) for head in (1, 3)
    ]
    boxes = [axes.get_position() for axes in found]
    assert boxes[0].y0 == boxes[1].y0 > boxes[2].y0 and boxes[0].x0 == boxes[2].x0
    assert figure.get_suptitle() == "icl, layers 0, 5"


@WIDTHS
@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (1, 9), (1, 32), (3, 9), (2, 12)])
def test_panels_of_any_count_fit_the_page(width: float, layers: int, heads: int) -> None:
    rows = made_rows(8, 20, 14, layers=tuple(range(layers)), heads=heads)
    figure = attention_heads_figure(rows, width=width)
    found = panels(figure)
    assert len(found) == layers * heads and drawn(found[0]).shape == (39, 39)
    assert figure.get_figheight() < 9.5
    boxes_inside(figure)
    titles = [axes.title.get_window_extent() for axes in found]
    assert all(
        one.x1 < other.x0 for one, other in pairwise(titles) if abs(one.y0 - other.y0) < 1 < other.x0 - one.x0
    )
    for axes in found:
        labels_apart(axes.xaxis)
        labels_apart(axes.yaxis)
    if "." in found[0].get_title():
        assert "panels are named layer.head" in figure.get_supxlabel()


def test_demonstrations_too_narrow_for_names_share_one() -> None:
    figure = attention_heads_figure(made_rows(8, 20, 14, heads=9), [0])
    axes = panels(figure)[0]
    assert ticks(axes.yaxis) == ["demonstrations", "query"]
    assert lines(axes, "rows") == [0.5, 24.5]


def test_panels_without_demonstrations_name_tokens_where_there_is_room() -> None:
    rows = made_rows(0, 1, 4, heads=2)
    axes = panels(attention_heads_figure(rows, [0]))[0]
    assert ticks(axes.yaxis) == ["<s>", "␣a", "␣b", "␣a", "␣b"]


def test_more_panels_than_a_page_holds_are_refused_with_how_many_it_does() -> None:
    rows = made_rows(layers=tuple(range(30)), heads=9)
    with pytest.raises(UserError, match=r"9 heads of 30 layers do not fit .* about \d+ panels: draw fewer"):
        attention_heads_figure(rows)
    assert grid_of(1, 9, 420) == Grid(5, 2, 78, 78)
    assert grid_of(3, 9, 420).across == 9
    with pytest.raises(UserError):
        grid_of(1, 1, 20)
