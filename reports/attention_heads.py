"""The attention of all heads of some layers, side by side on one colour scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from . import style
from .attention_axes import (
    CELL_POINTS,
    draw_cells,
    name_groups,
    name_tokens,
    readable_groups,
    separate_groups,
    token_size,
)
from .attention_cells import groups_of
from .attention_folding import folded_to_fit
from .attention_layout import (
    MOST_CELLS,
    bar_below,
    height_of,
    is_narrow,
    longest_points,
    points_across,
)
from .attention_notes import notes_of, numbers
from .attention_rows import AttentionRows, SpanMark
from .attention_scale import colour_bar, scale_of
from .figure_text import note_lines, title_lines, write_around
from .token_text import text_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# In points. A panel's title and the gap below it take what is around.
_WIDEST, _NARROWEST, _LOWEST, _PAGE = 120.0, 34.0, 28.0, 540.0
_GAP, _TITLE_SIZE, _AROUND = 6.0, 6.0, 16.0
_FLATTEST = 8.0
_LOW = 0.8
"""A figure no higher than this part of its width has the largest panels that it can."""


@dataclass(frozen=True)
class Grid:
    """How panels are laid out; every layer begins a line of its own.

    Attributes:
        across: Panels in a line.
        down: Lines.
        wide: Points that a panel is wide.
        high: Points that a square panel is high, or less where the page has no room for that.
    """

    across: int
    down: int
    wide: float
    high: float


def attention_heads_figure(
    rows: AttentionRows,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    *,
    width: float = style.TWO_COLUMNS,
    title: str = "",
) -> Figure:
    """Draw a panel for each head, rows attending and columns attended; demonstrations and query are named.

    A prompt of more than 60 tokens is folded, and a note says how.

    Args:
        rows: Attention of one prompt, or a difference.
        layers: Numbers of the layers; None is all.
        heads: Numbers of the heads; None is all.
        width: In inches.
        title: What the figure is about; setting and layers are added.

    Raises:
        UserError: If a layer or head is not among the rows, there are more panels than a page holds, or the width is
            no figure's.
    """
    style.check_width(width)
    rows = folded_to_fit(rows.select(layers, heads), MOST_CELLS, MOST_CELLS)
    beside = _names_points(rows)
    points = points_across(width, [""], beside, below=is_narrow(width))
    grid = grid_of(len(rows.layers), len(rows.heads), points)
    high = max(_FLATTEST, grid.high * min(1.0, len(rows.row_tokens) / len(rows.column_tokens)))
    named = [_panel_title(layer, head, rows, grid.wide) for layer in rows.layers for head in rows.heads]
    what = f"{rows.name}, layer{'s' * (len(rows.layers) > 1)} {numbers(rows.layers)}"
    heading = title_lines(f"{title}: {what}" if title else what, width)
    short = ["panels are named layer.head"] if "." in named[0] else []
    notes = note_lines([*short, *notes_of(rows, cells_named=False)], width)
    scale, values = scale_of(rows), rows.drawn()
    columns = readable_groups(rows.column_tokens, rows.column_spans, grid.wide / len(rows.column_tokens))
    lines = readable_groups(rows.row_tokens, rows.row_spans, high / len(rows.row_tokens))
    panels_high = grid.down * (high + _AROUND)
    below = bar_below(width, panels_high)
    with style.figure_style():
        height = height_of(panels_high, beside, titles=len(heading), notes=len(notes), below=below)
        figure = style.paper_figure(width, height)
        table = figure.subplots(grid.down, grid.across, squeeze=False)
        lines_of_layer = grid.down // len(rows.layers)
        panels: list[Axes] = []
        image: Any = None
        for layer in range(len(rows.layers)):
            for head in range(len(rows.heads)):
                axes = table[layer * lines_of_layer + head // grid.across, head % grid.across]
                image = draw_cells(axes, values[layer, head], scale)
                axes.set_title(named[len(panels)], fontsize=_TITLE_SIZE, pad=2)
                separate_groups(axes, columns, "columns", weight=0.6)
                separate_groups(axes, lines, "rows", weight=0.6)
                panels.append(axes)
        _remove_the_rest(table.ravel().tolist(), panels)
        _name_outer_panels(table, panels, rows, grid.wide, high)
        colour_bar(figure, image, panels, scale, below=below)
        write_around(figure, heading, notes)
    return figure


def grid_of(layers: int, heads: int, points: float) -> Grid:
    """Return the layout with the largest panels that a page has room for.

    Args:
        layers: How many layers.
        heads: How many heads each has.
        points: How wide all panels are together.

    Raises:
        UserError: If the page has no room for so many panels.
    """
    fitting = []
    for lines in range(1, heads + 1):
        across, down = -(-heads // lines), layers * lines
        wide = min(_WIDEST, points / across - _GAP)
        high = min(wide, _PAGE / down - _AROUND)
        if wide >= _NARROWEST and high >= _LOWEST:
            fitting.append(Grid(across, down, wide, high))
    if not fitting:
        most = int(points // (_NARROWEST + _GAP)) * int(_PAGE // (_LOWEST + _AROUND))
        raise UserError(
            f"{heads} heads of {layers} layers do not fit on a page of this width, which has room for about {most} "
            "panels: draw fewer layers or heads at once"
        )
    low = [grid for grid in fitting if grid.down * (grid.high + _AROUND) <= _LOW * points]
    return low[-1] if low else fitting[0]


def _panel_title(layer: int, head: int, rows: AttentionRows, points: float) -> str:
    if len(rows.layers) == 1:
        return f"head {head}"
    longest = f"layer {max(rows.layers)}, head {max(rows.heads)}"
    return f"layer {layer}, head {head}" if text_points(longest, _TITLE_SIZE) <= points else f"{layer}.{head}"


def _remove_the_rest(table: Sequence[Axes], panels: Sequence[Axes]) -> None:
    """Take out the places of a line that has fewer heads than the others."""
    for axes in table:
        if axes not in panels:
            axes.remove()


def _name_outer_panels(
    table: Any, panels: Sequence[Axes], rows: AttentionRows, across: float, down: float
) -> None:
    """Name demonstrations, or the tokens of a prompt without any, left of every line and below every column."""
    for line in table:
        _name(line[0].yaxis, rows.row_tokens, rows.row_spans, rows.row_counts, down)
    for column in table.T:
        lowest = [axes for axes in column if axes in panels][-1:]
        for axes in lowest:
            _name(axes.xaxis, rows.column_tokens, rows.column_spans, rows.column_counts, across)


def _name(
    axis: Axis, tokens: Sequence[str], spans: Sequence[SpanMark], counts: Sequence[int], points: float
) -> None:
    cell = points / len(tokens)
    if cell >= CELL_POINTS and all(span.demonstration is None for span in spans):
        name_tokens(axis, tokens, counts, token_size(cell))
    else:
        name_groups(axis, readable_groups(tokens, spans, cell), cell)


def _names_points(rows: AttentionRows) -> float:
    """Return about how many points names take left of the panels."""
    groups = [name for name, _ in groups_of(rows.row_tokens, rows.row_spans)]
    return longest_points([*groups, "demonstrations"], token_size(CELL_POINTS))
