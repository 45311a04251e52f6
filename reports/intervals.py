"""How an interval and a null look in every figure, and what the legend says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAND, BAR = "interval band", "interval bar"
"""What the artists of an interval are called, by which a legend finds them."""
NULL_LINE: tuple[int, tuple[float, ...]] = (0, (1, 1.3))
LEVEL_LINE: tuple[int, tuple[float, ...]] = (0, (4, 1.6))
_PALE, _NEUTRAL = 0.2, "#7f7f7f"


def draw_band(axes: Axes, places: Any, low: Any, high: Any, colour: str) -> None:
    """Draw an interval beside a line; a place that stands alone has a bar, for a band has no width there.

    Args:
        axes: Where.
        places: Of the line's points.
        low: Lower ends; NaN where there are none.
        high: Upper ends.
        colour: The line's.
    """
    places, low, high = (np.asarray(values, dtype=float) for values in (places, low, high))
    there = np.isfinite(low) & np.isfinite(high)
    if not (there & (high > low)).any():
        return
    beside = np.concatenate([[False], there, [False]])
    alone = there & ~beside[:-2] & ~beside[2:]
    if (there & ~alone).any():
        band = axes.fill_between(
            places, low, high, where=(there & ~alone).tolist(), color=colour, alpha=_PALE, linewidth=0
        )
        band.set_gid(BAND)
    if alone.any():
        bars = axes.vlines(places[alone], low[alone], high[alone], color=colour, alpha=0.5, linewidth=1.2)
        bars.set_gid(BAR)


def draw_level_band(axes: Axes, low: float, high: float, colour: str) -> None:
    """Draw the interval of what is a level across the whole panel."""
    if high > low:
        axes.axhspan(low, high, color=colour, alpha=_PALE, linewidth=0).set_gid(BAND)


def draw_points(
    axes: Axes, places: Any, values: Any, spread: Any, colour: str, *, across: bool = False, **looks: Any
) -> Any:
    """Draw points with a bar of their spread, or without where it is nothing, and return them.

    Args:
        axes: Where.
        places: Along the axis that names what is measured.
        values: What was measured.
        spread: Half of each bar; or its lengths below and above, ``[2, N]``.
        colour: Of points and bars.
        across: Whether values run from left to right.
        looks: Of points and the line through them; no line without ``linestyle``.
    """
    bars = np.nan_to_num(np.asarray(spread, dtype=float))
    places, values = np.asarray(places, dtype=float), np.asarray(values, dtype=float)
    drawn = axes.errorbar(
        *((values, places) if across else (places, values)),
        **({"xerr" if across else "yerr": bars} if bars.any() else {}),
        color=colour,
        **{"marker": "o", "linestyle": "none", "elinewidth": 0.9, "capsize": 1.8, **looks},
    )
    for part in (*drawn.lines[1], *drawn.lines[2]):
        part.set_gid(BAR)
    return drawn


def null_looks(**looks: Any) -> dict[str, Any]:
    """Return how the line of a null is drawn."""
    return {"linestyle": NULL_LINE, "linewidth": 1.3, "markersize": 2.6, "markerfacecolor": "white", **looks}


def interval_handles(figure: Figure, words: str) -> Sequence[Any]:
    """Return what a legend shows of the intervals of a figure; nothing where none was drawn.

    Args:
        figure: With all that is drawn in it.
        words: What they are.

    Raises:
        ValueError: If there are some and no words for them.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    kinds = {artist.get_gid() for axes in figure.axes for artist in axes.get_children()} & {BAND, BAR}
    if not kinds:
        return []
    if not words:
        raise ValueError("a figure with intervals has no words for them")
    if BAND in kinds:
        return [Patch(facecolor=_NEUTRAL, alpha=2 * _PALE, linewidth=0, label=words)]
    return [
        Line2D(
            [], [], color=_NEUTRAL, linewidth=0, marker="|", markersize=7, markeredgewidth=1.2, label=words
        )
    ]


def spread_words(draws: int, more: str = "") -> str:
    """Return what an interval over draws of demonstrations is called."""
    return f"± one standard deviation over {draws} draws{more}"


def null_handle(kind: str) -> Any:
    """Return what a legend shows of a null that several recipes have, each with its own marker."""
    from matplotlib.lines import Line2D

    from ..study.names import null_name

    looks = null_looks(color=style.NULL_COLOURS[kind], label=null_name(kind))
    return Line2D([], [], **looks)
