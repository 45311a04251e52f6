"""What a prompt's last token attends to, layer by layer, with every token written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from . import style
from .attention_axes import bracket_points, draw_cells, mark_groups, name_tokens, separate_groups, token_size
from .attention_cells import groups_of
from .attention_layout import (
    bar_below,
    folded_to_room,
    height_of,
    is_narrow,
    longest_points,
    points_across,
)
from .attention_notes import notes_of, numbers
from .attention_rows import AttentionRows
from .attention_scale import colour_bar, scale_of
from .figure_text import note_lines, title_lines, write_around
from .ticks import name_layers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL, _HIGHEST_LAYER, _LOWEST_LAYER = 150.0, 14.0, 3.0


def attention_last_row_figure(
    rows: AttentionRows,
    head: int | None = None,
    *,
    layers: Sequence[int] | None = None,
    width: float = style.TWO_COLUMNS,
    title: str = "",
) -> Figure:
    """Draw the last row's attention, layers by attended tokens, the first layer at the bottom.

    A prompt with more tokens than can be named at this width is folded, and a note says how.

    Args:
        rows: Attention of one prompt, or a difference.
        head: The number of the head; None is the mean of all heads.
        layers: Numbers of the layers; None is all.
        width: In inches.
        title: What the figure is about; setting and head are added.

    Raises:
        UserError: If a layer or the head is not among the rows, or the width is no figure's.
    """
    style.check_width(width)
    rows = rows.select(layers, None if head is None else [head])
    heads = f"head {rows.heads[0]}" if len(rows.heads) == 1 else f"mean over heads {numbers(rows.heads)}"
    heading = f"{rows.name}, last token, {heads}"
    heading = title_lines(f"{title}: {heading}" if title else heading, width)
    below = is_narrow(width)
    names = [str(layer) for layer in rows.layers]
    room = points_across(width, names, 0, below=below)
    rows = folded_to_room(_last_row(rows), lambda _: room)
    notes = note_lines(notes_of(rows, cells_named=True), width)
    across = room / len(rows.column_tokens)
    panel = len(rows.layers) * float(np.clip(_PANEL / len(rows.layers), _LOWEST_LAYER, _HIGHEST_LAYER))
    below = bar_below(width, panel)
    values = head_mean(rows)[:, -1]
    scale = scale_of(rows, values)
    around = bracket_points(rows.column_tokens, rows.column_spans, across)
    around += longest_points(rows.column_tokens, token_size(across))
    with style.figure_style():
        height = height_of(panel, around, titles=len(heading), notes=len(notes), below=below)
        figure = style.paper_figure(width, height)
        axes = figure.subplots()
        image = draw_cells(axes, values, scale, first_at_top=False)
        name_tokens(axes.xaxis, rows.column_tokens, rows.column_counts, token_size(across))
        name_layers(axes.yaxis, rows.layers, range(len(rows.layers)))
        axes.tick_params(axis="y", labelsize=6, length=2, width=0.4)
        separate_groups(axes, groups_of(rows.column_tokens, rows.column_spans), "columns")
        mark_groups(axes, rows.column_tokens, rows.column_spans, across, "columns")
        axes.set_xlabel("attended token", fontsize=7)
        axes.set_ylabel("layer", fontsize=7)
        colour_bar(figure, image, [axes], scale, below=below)
        write_around(figure, heading, notes)
    return figure


def head_mean(rows: AttentionRows) -> np.ndarray:
    """Return the mean over heads, ``[L, P, Q]``, NaN where no head sees a column or has a value.

    A head that does not see a column gives it no share of its pattern, and has no score there.

    Args:
        rows: Attention of any number of heads.
    """
    values = rows.drawn()
    seen = np.broadcast_to(rows.visible, values.shape)
    if rows.kind == "pattern":
        values = np.where(seen, values, 0.0)
    there = np.isfinite(values)
    count = there.sum(axis=1)
    total = np.where(there, values, 0.0).sum(axis=1)
    some = (count > 0) & seen.any(axis=1)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=some)


def _last_row(rows: AttentionRows) -> AttentionRows:
    """Return the last row alone."""
    span = next((span for span in rows.row_spans if span.stop == len(rows.row_tokens)), None)
    return replace(
        rows,
        values=rows.values[:, :, -1:],
        visible=rows.visible[:, :, -1:],
        row_tokens=rows.row_tokens[-1:],
        row_spans=() if span is None else (replace(span, start=0, stop=1),),
        row_counts=rows.row_counts[-1:],
    )
