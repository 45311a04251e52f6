"""The attention of one head, token by token, with every token written at both axes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from . import style
from .attention_axes import (
    bracket_points,
    draw_cells,
    mark_groups,
    name_tokens,
    separate_groups,
    token_size,
)
from .attention_cells import groups_of
from .attention_layout import (
    bar_below,
    folded_to_room,
    height_of,
    is_narrow,
    longest_points,
    points_across,
)
from .attention_notes import notes_of
from .attention_rows import AttentionRows
from .attention_scale import colour_bar, scale_of
from .figure_text import note_lines, title_lines, write_around

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LARGEST_CELL, _SMALLEST_CELL, _HIGHEST_PANEL = 12.0, 6.0, 500.0


def attention_map_figure(
    rows: AttentionRows, layer: int, head: int, *, width: float = style.TWO_COLUMNS, title: str = ""
) -> Figure:
    """Draw one head's attention, rows attending and columns attended.

    A prompt with more tokens than can be named at this width is folded, and a note says how.

    Args:
        rows: Attention of one prompt, or a difference.
        layer: The number of the layer.
        head: The number of the head.
        width: In inches.
        title: What the figure is about; setting, layer and head are added.

    Raises:
        UserError: If the layer or the head is not among the rows, or the width is no figure's.
    """
    style.check_width(width)
    rows = folded_to_room(rows.select([layer], [head]), partial(_room, width))
    across, down = _room(width, rows) / len(rows.column_tokens), len(rows.row_tokens)
    high = min(across, max(_SMALLEST_CELL, min(_LARGEST_CELL, _HIGHEST_PANEL / down)))
    below = bar_below(width, high * down)
    size = token_size(min(across, high))
    heading = title_lines(f"{title}: {_what(rows)}" if title else _what(rows), width)
    notes = note_lines(notes_of(rows, cells_named=True), width)
    around = bracket_points(rows.column_tokens, rows.column_spans, across)
    around += longest_points(rows.column_tokens, size)
    scale = scale_of(rows)
    with style.figure_style():
        height = height_of(high * down, around, titles=len(heading), notes=len(notes), below=below)
        figure = style.paper_figure(width, height)
        axes = figure.subplots()
        image = draw_cells(axes, rows.drawn()[0, 0], scale)
        name_tokens(axes.xaxis, rows.column_tokens, rows.column_counts, size)
        name_tokens(axes.yaxis, rows.row_tokens, rows.row_counts, size)
        separate_groups(axes, groups_of(rows.column_tokens, rows.column_spans), "columns")
        separate_groups(axes, groups_of(rows.row_tokens, rows.row_spans), "rows")
        mark_groups(axes, rows.column_tokens, rows.column_spans, across, "columns")
        mark_groups(axes, rows.row_tokens, rows.row_spans, high, "rows")
        axes.set_xlabel("attended token", fontsize=7)
        axes.set_ylabel("attending token", fontsize=7)
        colour_bar(figure, image, [axes], scale, below=below)
        write_around(figure, heading, notes)
    return figure


def _room(width: float, rows: AttentionRows) -> float:
    beside = bracket_points(rows.row_tokens, rows.row_spans, _SMALLEST_CELL)
    return points_across(width, rows.row_tokens, beside, below=is_narrow(width))


def _what(rows: AttentionRows) -> str:
    return f"{rows.name}, layer {rows.layers[0]}, head {rows.heads[0]}"
