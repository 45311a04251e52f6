"""Attention drawn token by token: one head, all heads of a layer side by side, the last token's row over layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import style
from .attention_rows import AttentionRows, Token
from .grouped_attention import MOST_TOKENS, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ONE_COLUMN, TWO_COLUMNS = 3.4, 6.9
"""Inches, of a page of two columns."""
_MOST_OF_A_PANEL = 28
_MARGIN = 1.5
_SMALLEST_CELL = 0.08
_SMALLEST_NAME = 0.06


@dataclass(frozen=True)
class _Scale:
    """The numbers of the first and the last colour, and whether some lie above."""

    low: float | None
    high: float | None
    colours: str
    is_exceeded: bool = False


def attention_map_figure(
    rows: AttentionRows, *, head: int | None = None, width: float = TWO_COLUMNS
) -> Figure:
    """Draw every token's attention to every token, in one head of one layer or in the mean of its heads.

    Args:
        rows: The rows of one layer.
        head: Which head; None is the mean over the heads there are.
        width: In inches.

    Raises:
        KeyError: If there is no such head.
    """
    rows = readable(rows, _most(width))
    values, visible = _of_head(rows, head)
    size = (width - _MARGIN) / max(len(rows.columns), 1)
    height = min(9.0, max(2.0, size * len(rows.rows) + _MARGIN))
    with style.figure_style():
        figure = style.new_figure(width, height)
        axes = figure.subplots()
        scale = _scale(rows, values, visible)
        image = _draw(axes, values[0], visible[0], scale)
        _name_axis(axes.xaxis, rows.columns, size)
        _name_axis(axes.yaxis, rows.rows, size)
        _mark_demonstrations(axes, rows.columns, rows.rows)
        axes.set(xlabel="attended to", ylabel="attending token")
        _colour_bar(figure, image, [axes], rows, scale)
        _tell(figure, rows, f"layer {rows.layers[0]}, {_head_name(rows, head)}")
    return figure


def attention_heads_figure(rows: AttentionRows, *, width: float = TWO_COLUMNS) -> Figure:
    """Draw all heads of one layer as small maps on one scale of colours.

    Args:
        rows: The rows of one layer.
        width: In inches.
    """
    count = len(rows.heads)
    across = _across(count, width)
    down = -(-count // across)
    panel = (width - 1.6) / across
    rows = readable(rows, max(8, min(_MOST_OF_A_PANEL, int(panel / _SMALLEST_NAME))))
    with style.figure_style():
        height = min(
            9.0, max(2.4, panel * down * len(rows.rows) / max(len(rows.columns), 1) + 0.2 * down + 1.6)
        )
        figure = style.new_figure(width, height)
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        scale = _scale(rows, rows.values[0], rows.visible[0])
        image: Any = None
        for place, axes in enumerate(grid.flat):
            if place >= count:
                axes.set_visible(False)
                continue
            image = _draw(axes, rows.values[0, place], rows.visible[0, place], scale)
            axes.set_title(f"head {rows.heads[place]}", fontsize=8)
            _mark_demonstrations(axes, rows.columns, rows.rows, names=False)
        for axes in grid[:, 0]:
            _name_axis(axes.yaxis, rows.rows, panel / max(len(rows.rows), 1))
        for place in range(across):
            lowest = grid[(count - 1 - place) // across, place]
            lowest.xaxis.set_tick_params(labelbottom=True)
            _name_axis(lowest.xaxis, rows.columns, panel / max(len(rows.columns), 1))
        _colour_bar(figure, image, list(grid.flat), rows, scale)
        _tell(figure, rows, f"layer {rows.layers[0]}")
    return figure


def last_row_figure(rows: AttentionRows, *, head: int | None = None, width: float = TWO_COLUMNS) -> Figure:
    """Draw where the last token attends in each layer, tokens written out.

    Args:
        rows: The rows.
        head: Which head of each layer; None is the mean over heads.
        width: In inches.

    Raises:
        KeyError: If there is no such head.
    """
    rows = readable(rows.of_tokens([len(rows.rows) - 1], range(len(rows.columns))), _most(width))
    values, visible = (cells[:, 0] for cells in _of_head(rows, head))
    size = (width - _MARGIN) / max(len(rows.columns), 1)
    with style.figure_style():
        figure = style.new_figure(width, min(9.0, max(1.9, 0.16 * len(rows.layers) + 1.6)))
        axes = figure.subplots()
        scale = _scale(rows, values, visible)
        image = _draw(axes, values, visible, scale, origin="lower")
        _name_axis(axes.xaxis, rows.columns, size)
        step = max(1, -(-len(rows.layers) // 16))
        places = range(0, len(rows.layers), step)
        axes.set_yticks(list(places), [str(rows.layers[place]) for place in places])
        _mark_demonstrations(axes, rows.columns, ())
        axes.set(xlabel="attended to", ylabel="layer")
        _colour_bar(figure, image, [axes], rows, scale)
        _tell(figure, rows, f"the last token, {_head_name(rows, head)}")
    return figure


def _of_head(rows: AttentionRows, head: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return values and visible cells of one head, or of the mean over heads, ``[L, P, Q]``."""
    if head is None:
        seen = rows.visible.sum(1)
        total = np.where(rows.visible, rows.values, 0.0).sum(1)
        return np.divide(total, seen, out=np.zeros_like(total), where=seen > 0), seen > 0
    if head not in rows.heads:
        raise KeyError(f"no head {head}: there are {', '.join(map(str, rows.heads))}")
    place = rows.heads.index(head)
    return rows.values[:, place], rows.visible[:, place]


def _scale(rows: AttentionRows, values: np.ndarray, visible: np.ndarray) -> _Scale:
    """Return the ends of the colours: of a pattern what is found off the first token, which would outshine it all."""
    shown = values[visible]
    if rows.is_difference:
        limit = float(np.abs(shown).max()) if shown.size else 1.0
        return _Scale(-(limit or 1.0), limit or 1.0, style.DIVERGING_COLOURS)
    if rows.kind == "scores":
        return _Scale(None, None, "viridis")
    others = [place for place, token in enumerate(rows.columns) if not token.is_first]
    seen = values[..., others][visible[..., others]]
    seen = seen if seen.size and seen.max() > 0 else shown
    most = float(seen.max()) if seen.size else 1.0
    return _Scale(0.0, most, "viridis", bool(shown.size and shown.max() > most))


def _most(width: float) -> int:
    """How many tokens an axis of a figure so wide has room for."""
    return min(MOST_TOKENS, max(8, int((width - _MARGIN) / _SMALLEST_CELL)))


def _across(count: int, width: float) -> int:
    """How many panels stand side by side: few are missing in the last row."""
    if width < 4 or count <= 4:
        return min(count, 2)
    return min(range(3, min(count, 6) + 1), key=lambda across: (-count % across, abs(across - 4)))


def _draw(axes: Axes, values: np.ndarray, visible: np.ndarray, scale: _Scale, origin: Any = "upper") -> Any:
    """Draw cells as colours; those that are not visible show the hatched ground."""
    axes.patch.set(facecolor=style.UNDEFINED_FACE, edgecolor=style.UNDEFINED_HATCH, hatch="////")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return axes.imshow(
        np.ma.masked_where(~visible, values),
        origin=origin,
        aspect="auto",
        cmap=scale.colours,
        vmin=scale.low,
        vmax=scale.high,
        interpolation="nearest",
    )


def _name_axis(axis: Any, tokens: Sequence[Token], inches: float) -> None:
    """Write the tokens out, in letters as large as a cell of so many inches lets them be."""
    points = float(np.clip(inches * 72 * 0.85, 4.5, 8))
    axis.set_ticks(range(len(tokens)), [token.name for token in tokens], fontsize=points)
    axis.set_tick_params(length=1.5, pad=1.5)
    if axis.axis_name == "x":
        for label in axis.get_ticklabels():
            label.set(rotation=90, ha="center", va="top")
    for label, token in zip(axis.get_ticklabels(), tokens, strict=True):
        if token.part in ("demonstration_label", "demonstration"):
            label.set_color(style.SETTING_COLOURS["ft"])


def _mark_demonstrations(
    axes: Axes, columns: Sequence[Token], rows: Sequence[Token], *, names: bool = True
) -> None:
    """Draw a line where a demonstration or the query begins, and write above whose columns they are."""
    line = {"color": "white", "linewidth": 0.7}
    for start, _, _ in _runs(rows):
        if start:
            axes.axhline(start - 0.5, **line)
    for start, stop, token in _runs(columns):
        if start:
            axes.axvline(start - 0.5, **line)
        is_folded = columns[stop - 1].part == "demonstration"
        if names and stop - start > 1 and token.demonstration is not None and not is_folded:
            name = f"{token.demonstration + 1} {token.label}".strip()
            place = ((start + stop - 1) / 2, 1.0)
            axes.annotate(
                name, place, (0, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
                ha="center", va="bottom", fontsize=6, annotation_clip=False,
            )  # fmt: skip


def _runs(tokens: Sequence[Token]) -> list[tuple[int, int, Token]]:
    """Where each demonstration, and what stands between them, begins and stops."""
    starts = [
        place
        for place, token in enumerate(tokens)
        if place == 0 or tokens[place - 1].demonstration != token.demonstration
    ]
    ends = [*starts[1:], len(tokens)] if starts else []
    return [(start, stop, tokens[start]) for start, stop in zip(starts, ends, strict=True)]


def _colour_bar(figure: Figure, image: Any, axes: list[Axes], rows: AttentionRows, scale: _Scale) -> None:
    extend = "max" if scale.is_exceeded else "neither"
    figure.colorbar(image, ax=axes, label=_unit(rows), fraction=0.04, pad=0.02, extend=extend)


def _unit(rows: AttentionRows) -> str:
    named = "share of attention" if rows.kind == "pattern" else "score before the softmax"
    return f"difference, {named}" if rows.is_difference else named


def _head_name(rows: AttentionRows, head: int | None) -> str:
    if head is not None:
        return f"head {head}"
    count = len(rows.heads)
    return f"mean of {count} heads" if count > 1 else f"head {rows.heads[0]}"


def _tell(figure: Figure, rows: AttentionRows, what: str) -> None:
    figure.suptitle(f"{rows.title}: {what}" if rows.title else what, fontsize=9)
    if rows.note:
        figure.supxlabel(rows.note, fontsize=6.5, color="#555555", wrap=True)
