"""How one panel of an attention figure is drawn: cells, tokens at its axes, and what the tokens are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .attention_cells import Group, groups_of
from .attention_rows import SpanMark
from .attention_scale import Scale
from .heatmap import draw_heatmap
from .token_text import font_draws, printable, text_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

CELL_POINTS = 5.6
"""Points that a cell needs in which a token is named."""
_SMALLEST, _LARGEST = 5.0, 6.5
NAME_SIZE = 6.0
"""Font size of what marks demonstrations."""
_MARK_COLOUR, _FOLDED_COLOUR = "#333333", "#0072b2"
# Between two cells there may be no line of the hatching, and a difference of zero is nearly white.
_MASKED_FACE, _MASKED_HATCH = "#d2d2d2", "#b4b4b4"
_GAP = 3.0


def token_size(cell: float) -> float:
    """Return the font size of tokens beside cells of so many points."""
    return float(np.clip(0.9 * cell, _SMALLEST, _LARGEST))


def draw_cells(axes: Axes, values: np.ndarray, scale: Scale, *, first_at_top: bool = True) -> Any:
    """Draw a table of numbers as colours; what is not visible or undefined is hatched, on a grey that no scale has.

    Args:
        axes: Where to draw.
        values: ``[P, Q]``, NaN where a row does not see a column.
        scale: The colours.
        first_at_top: Whether the first row stands at the top, or at the bottom.

    Returns:
        The image, for a colour bar.
    """
    image = draw_heatmap(axes, values, scale.low, scale.high, scale.colours)
    image.set_norm(scale.norm())
    axes.patch.set(facecolor=_MASKED_FACE, edgecolor=_MASKED_HATCH)
    if first_at_top:
        axes.invert_yaxis()
    axes.set_xticks([])
    axes.set_yticks([])
    return image


def name_tokens(axis: Axis, tokens: Sequence[str], counts: Sequence[int], size: float) -> None:
    """Write every token at an axis; folded cells have another colour.

    Args:
        axis: The x-axis or y-axis of a panel.
        tokens: Their texts, which are made printable here.
        counts: How many tokens each one stands for; empty where all stand for themselves.
        size: Font size.
    """
    _write_names(axis, range(len(tokens)), tokens, size)
    axis.set_tick_params(length=1.5, width=0.4, pad=1.5)
    for label, count in zip(axis.get_ticklabels(), counts, strict=False):
        if count > 1:
            label.set_color(_FOLDED_COLOUR)


def readable_groups(tokens: Sequence[str], spans: Sequence[SpanMark], cell: float) -> tuple[Group, ...]:
    """Return what `groups_of` does, with one group for all demonstrations where their names would touch.

    Args:
        tokens: Texts of the cells.
        spans: What the cells are.
        cell: Points from one cell to the next.
    """
    groups = groups_of(tokens, spans)
    shown = [span for _, span in groups if span.demonstration is not None]
    if len(shown) < 2 or all(cell * (span.stop - span.start) >= CELL_POINTS for span in shown):
        return groups
    whole = SpanMark("demonstrations", shown[0].start, shown[-1].stop, shown[0].demonstration)
    others = [group for group in groups if group[1].demonstration is None]
    return tuple(sorted([("demonstrations", whole), *others], key=lambda group: group[1].start))


def name_groups(axis: Axis, groups: Sequence[Group], cell: float) -> None:
    """Write names at an axis, instead of its tokens; what is narrower than a letter has none.

    Args:
        axis: The x-axis or y-axis of a panel.
        groups: Names and where they stand.
        cell: Points from one cell to the next.
    """
    named = [(name, span) for name, span in groups if cell * (span.stop - span.start) >= CELL_POINTS]
    middles = [(span.start + span.stop - 1) / 2 for _, span in named]
    _write_names(axis, middles, [name for name, _ in named], token_size(CELL_POINTS))
    axis.set_tick_params(length=0)


def separate_groups(axes: Axes, groups: Sequence[Group], which: str, weight: float = 1.0) -> None:
    """Draw a line through the cells wherever another demonstration, or another part of the prompt, begins.

    Args:
        axes: A panel with cells.
        groups: Names and where they stand.
        which: ``columns`` or ``rows``.
        weight: What the line's width is multiplied by.
    """
    draw = axes.axvline if which == "columns" else axes.axhline
    ends = axes.get_xlim() if which == "columns" else axes.get_ylim()
    for edge in sorted({edge - 0.5 for _, span in groups for edge in (span.start, span.stop)} - {*ends}):
        # Dark on light cells and on the hatched ones, light on dark cells.
        draw(edge, color="white", linewidth=1.1 * weight, zorder=3)
        draw(edge, color=_MARK_COLOUR, linewidth=0.5 * weight, zorder=3.1)


def mark_groups(
    axes: Axes, tokens: Sequence[str], spans: Sequence[SpanMark], cell: float, which: str
) -> None:
    """Draw a bracket with a name along each demonstration and each other part of the prompt.

    Args:
        axes: A panel with cells.
        tokens: Texts of the cells.
        spans: What the cells are.
        cell: Points from one cell to the next.
        which: ``columns``, above the panel; or ``rows``, right of it.
    """
    for name, span in groups_of(tokens, spans):
        _bracket(axes, span, which)
        fits = text_points(name, NAME_SIZE) <= cell * (span.stop - span.start)
        if fits or _is_named(span, spans):
            _bracket_name(axes, name, span, which, along=fits)


def bracket_points(tokens: Sequence[str], spans: Sequence[SpanMark], cell: float) -> float:
    """Return about how many points `mark_groups` takes beside a panel."""
    groups = groups_of(tokens, spans)
    lengths = [
        (text_points(name, NAME_SIZE), cell * (span.stop - span.start), _is_named(span, spans))
        for name, span in groups
    ]
    across = [name for name, place, is_named in lengths if is_named and name > place]
    return 2 * _GAP + max([NAME_SIZE * 1.2, *across]) if groups else 0.0


def _is_named(group: SpanMark, spans: Sequence[SpanMark]) -> bool:
    """Return whether a group has a name even if it is longer than the group: its cells do not say what they are."""
    folded = any(span.name == "demonstrations" and group.start <= span.start < group.stop for span in spans)
    return group.stop - group.start > 1 and not folded


def _write_names(axis: Axis, places: Sequence[float], names: Sequence[str], size: float) -> None:
    upright: dict[str, Any] = {}
    if axis is axis.axes.xaxis:
        upright = {
            "rotation": 90,
            "rotation_mode": "anchor",
            "horizontalalignment": "right",
            "verticalalignment": "center_baseline",
        }
    # Tokens hold whatever texts hold: a dollar sign begins no formula.
    texts = [printable(name, font_draws) for name in names]
    axis.set_ticks(places, texts, fontsize=size, parse_math=False, **upright)


def _bracket(axes: Axes, span: SpanMark, which: str) -> None:
    from matplotlib.lines import Line2D

    ends = [span.start - 0.35, span.stop - 0.65]
    beside = [1.0, 1.0]
    line = Line2D(
        *((ends, beside) if which == "columns" else (beside, ends)),
        transform=_beside(axes, which, _GAP),
        color=_MARK_COLOUR,
        linewidth=0.8,
        solid_capstyle="butt",
        clip_on=False,
    )
    line.set_label(f"_bracket {which}")
    axes.add_artist(line)


def _bracket_name(axes: Axes, name: str, span: SpanMark, which: str, *, along: bool) -> None:
    middle = (span.start + span.stop - 1) / 2
    columns = which == "columns"
    axes.text(
        *((middle, 1.0) if columns else (1.0, middle)),
        printable(name, font_draws),
        transform=_beside(axes, which, 2 * _GAP),
        fontsize=NAME_SIZE,
        color=_MARK_COLOUR,
        rotation=90 if along != columns else 0,
        horizontalalignment="center" if columns else "left",
        verticalalignment="bottom" if columns else "center",
        parse_math=False,
        clip_on=False,
    )


def _beside(axes: Axes, which: str, points: float) -> Any:
    """Return a transform that counts cells along a panel and begins so many points beside it."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    columns = which == "columns"
    along = (
        blended_transform_factory(axes.transData, axes.transAxes)
        if columns
        else blended_transform_factory(axes.transAxes, axes.transData)
    )
    shift = (0, points / 72) if columns else (points / 72, 0)
    figure = axes.get_figure(root=True)
    assert figure is not None
    return along + ScaledTranslation(*shift, figure.dpi_scale_trans)
