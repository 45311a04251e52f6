"""The attention of one head, token by token, read back from what was drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_attention import (
    AWKWARD,
    WIDTHS,
    boxes_inside,
    brackets,
    drawn,
    labels_apart,
    lines,
    panels,
    texts,
    ticks,
)
from made_attention import made_rows

from iclprobe.reports import style
from iclprobe.reports.attention_heads import attention_heads_figure
from iclprobe.reports.attention_last_row import attention_last_row_figure
from iclprobe.reports.attention_layout import MOST_CELLS
from iclprobe.reports.attention_map import attention_map_figure
from iclprobe.reports.attention_scale import scale_of
from iclprobe.reports.figure_text import TITLE_SIZE, note_lines, title_lines
from iclprobe.reports.token_text import text_points


def test_a_map_writes_every_token_at_both_axes_and_masks_what_is_not_seen() -> None:
    rows = made_rows(2, 3, 4)
    figure = attention_map_figure(rows, layer=2, head=1, title="pocket on sst2")
    (axes,) = panels(figure)
    written = ["<s>", *["␣a", "␣b", "␣a", "␣positive", "⏎⏎"], *["␣a", "␣b", "␣a", "␣negative", "⏎⏎"]]
    written += ["␣a", "␣b", "␣a", "␣b"]
    assert ticks(axes.xaxis) == ticks(axes.yaxis) == written
    cells = drawn(axes)
    later = np.triu(np.ones((15, 15), dtype=bool), 1)
    assert np.array_equal(np.ma.getmaskarray(cells), later)
    assert cells.data[~later] == pytest.approx(rows.values[1, 1][~later])
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first row stands at the top"
    assert axes.patch.get_hatch() and axes.patch.get_facecolor() != (1, 1, 1, 1)
    assert figure.get_suptitle() == "pocket on sst2: icl, layer 2, head 1"
    assert figure.get_supxlabel() == "colours by square root; hatched: not visible"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("attended token", "attending token")
    assert figure.axes[-1].get_ylabel() == "attention pattern"


def test_masked_cells_have_a_colour_that_no_scale_has() -> None:
    from matplotlib import colormaps

    figure = attention_map_figure(made_rows(), 0, 0)
    face = np.array(panels(figure)[0].patch.get_facecolor())[:3]
    for name in ("viridis", style.DIVERGING_COLOURS):
        colours = colormaps[name](np.linspace(0, 1, 256))[:, :3]
        assert np.abs(colours - face).max(axis=1).min() > 0.08
        assert np.abs(colormaps[name](0.5)[:3] - face).max() > 0.12


def test_demonstrations_are_bracketed_and_named_at_both_axes() -> None:
    axes = panels(attention_map_figure(made_rows(2, 6, 4), 0, 0))[0]
    assert brackets(axes, "columns") == brackets(axes, "rows") == [(0, 0), (1, 8), (9, 16), (17, 20)]
    names = ["1 positive", "2 negative", "query"]
    assert texts(axes) == ["begin", *names, *names], "the row of the beginning has no room for a name"
    assert lines(axes, "columns") == lines(axes, "rows") == [0.5, 8.5, 16.5]


def test_scores_begin_at_the_smallest_that_is_visible() -> None:
    rows = made_rows(kind="scores")
    rows = replace(rows, values=np.where(rows.visible, rows.values, -1e6))
    figure = attention_map_figure(rows, 0, 0)
    seen = rows.values[0, 0][rows.visible[0, 0]]
    assert panels(figure)[0].get_images()[0].get_clim() == (seen.min(), seen.max())
    assert figure.axes[-1].get_ylabel() == "attention score (pre-softmax)"


@WIDTHS
@pytest.mark.parametrize(
    ("demonstrations", "each", "query", "chat"),
    [
        (0, 1, 2, False),
        (2, 5, 9, False),
        (8, 20, 14, False),
        (8, 20, 25, True),
        (100, 6, 12, True),
        (0, 1, 400, False),
    ],
)
def test_a_map_of_any_prompt_can_be_read_and_says_what_is_folded(
    width: float, demonstrations: int, each: int, query: int, chat: bool
) -> None:
    rows = made_rows(demonstrations, each, query, layers=(0,), heads=1, chat=chat, words=AWKWARD)
    figure = attention_map_figure(rows, 0, 0, width=width)
    axes = panels(figure)[0]
    assert max(drawn(axes).shape) <= MOST_CELLS
    boxes_inside(figure)
    labels_apart(axes.xaxis)
    labels_apart(axes.yaxis)
    assert figure.get_figwidth() == width
    is_folded = len(rows.column_tokens) > drawn(axes).shape[1]
    assert ("folded: " in figure.get_supxlabel().replace("\n", " ")) == is_folded
    assert is_folded or len(rows.column_tokens) <= MOST_CELLS
    total = np.ma.filled(drawn(axes), 0).sum(axis=1)
    assert total == pytest.approx(1)


def test_a_narrow_map_of_eight_demonstrations_still_names_each_of_them() -> None:
    figure = attention_map_figure(made_rows(8, 20, 14), 0, 0, width=style.ONE_COLUMN)
    axes = panels(figure)[0]
    labels = ("␣positive", "␣negative")
    assert ticks(axes.xaxis)[1:17] == [name for n in range(8) for name in (f"{n + 1}", labels[n % 2])]
    colours = [label.get_color() for label in axes.xaxis.get_ticklabels()]
    assert len({*colours[1:17:2]}) == 1 and colours[0] == colours[2] != colours[1]
    assert "blue: cells of several tokens" in figure.get_supxlabel().replace("\n", " ")
    assert "each demonstration is one cell and its label another" in figure.get_supxlabel().replace("\n", " ")


def test_rows_of_the_query_alone_are_drawn_over_all_columns() -> None:
    rows = made_rows(2, 6, 4, last=4)
    axes = panels(attention_map_figure(rows, 0, 0))[0]
    assert drawn(axes).shape == (4, 21)
    assert brackets(axes, "rows") == [(0, 3)] and lines(axes, "rows") == []
    one = panels(attention_map_figure(made_rows(2, 6, 4, last=1), 0, 0))[0]
    assert drawn(one).shape == (1, 21) and not np.ma.getmaskarray(drawn(one)).any()


def test_an_empty_scale_has_limits_all_the_same() -> None:
    rows = made_rows(kind="scores")
    nothing = replace(rows, visible=np.zeros_like(rows.visible))
    assert (scale_of(nothing).low, scale_of(nothing).high) == (0, 1)
    assert attention_map_figure(nothing, 0, 0).get_supxlabel() == "hatched: not visible"


def test_titles_and_notes_are_lines_that_fit() -> None:
    assert title_lines("", 3.3) == note_lines([], 3.3) == title_lines(" \n", 3.3) == []
    title = "some/long/path/of/a/model/" * 8 + " on sst2: icl, layer 3"
    found = title_lines(title, style.ONE_COLUMN)
    assert "".join(found).replace(" ", "") == title.replace(" ", "") and len(found) > 2
    assert all(text_points(line, TITLE_SIZE) <= style.ONE_COLUMN * 72 for line in found)
    words = ["many words that fill a line"] * 9
    found = note_lines(words, style.TWO_COLUMNS)
    assert " ".join(found) == "; ".join(words) and len(found) == 2
    boxes_inside(attention_map_figure(made_rows(), 0, 0, width=style.ONE_COLUMN, title=title))


def test_no_token_becomes_a_formula_or_warns(recwarn: pytest.WarningsRecorder) -> None:
    rows = made_rows(2, 5, 6, layers=(0,), heads=1, words=AWKWARD, setting="中文 $x$")
    for figure in (
        attention_map_figure(rows, 0, 0),
        attention_last_row_figure(rows),
        attention_heads_figure(rows),
    ):
        for kind in ("png", "svg", "pdf"):
            assert style.picture_bytes(figure, kind)
        for axes in panels(figure):
            assert not any(label.get_parse_math() for label in axes.get_xticklabels() + axes.texts)
    assert "␣$x$" in ticks(panels(attention_map_figure(rows, 0, 0))[0].xaxis)
    title = attention_map_figure(rows, 0, 0, title="a\nb").get_suptitle()
    assert title == "a b: \\u4e2d\\u6587 $x$, layer 0, head 0"
    assert not recwarn.list
