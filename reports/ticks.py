"""Ticks: at the first and the last of everything, as many between as can be read, on scales that fit the values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_MOST_TICKS = 12
_BESIDE = 34.0
"""Points of a panel that are not its axis."""
_NICE = (1, 2, 4, 5, 8, 10, 20, 25, 50, 100, 200, 500)
_FOOT = 0.6
"""How many decades are between 0 and the lowest one, on a logarithmic scale with 0 at its foot."""
_DECADES = 100.0
"""How many times the smallest the largest positive value is, from which on a scale is logarithmic."""


def name_layers(
    axis: Axis, layers: Sequence[int] | np.ndarray, places: Any = None, most: int = _MOST_TICKS
) -> None:
    """Put ticks at the first and the last layer, or head, and at even distances between.

    Args:
        axis: The x-axis or y-axis of a panel.
        layers: Numbers of the layers in order.
        places: Where each stands; None is at its number.
        most: How many ticks there may be.
    """
    numbers = [int(layer) for layer in layers]
    where = np.asarray(numbers if places is None else places, dtype=float)
    kept = thinned(len(numbers), most)
    axis.set_ticks([where[place] for place in kept], [str(numbers[place]) for place in kept])


def room_for(numbers: Sequence[int] | np.ndarray, points: float) -> int:
    """Return how many of some numbers can be named along an axis of a panel that is so many points wide."""
    longest = max((len(str(number)) for number in numbers), default=1)
    return max(2, min(_MOST_TICKS, int((points - _BESIDE) / (5 + 4.5 * longest))))


def thinned(count: int, most: int = _MOST_TICKS) -> list[int]:
    """Return places of so many that are named: the first, the last, and every n-th that is not beside the last."""
    step = max(1, -(-count // most))
    step = next((nice for nice in _NICE if nice >= step), step)
    kept = list(range(0, count, step))
    if count and kept[-1] != count - 1:
        if len(kept) > 1 and count - 1 - kept[-1] < max(2, step / 2 + 0.5):
            del kept[-1]
        kept.append(count - 1)
    return kept


def apart(places: np.ndarray, least: float) -> list[int]:
    """Return which of some ascending places are so far from each other that all can be named, the ends always."""
    kept = [len(places) - 1]
    for place in range(len(places) - 2, 0, -1):
        if places[kept[-1]] - places[place] >= least and places[place] - places[0] >= least:
            kept.append(place)
    return sorted({0, *kept})


def around(places: Sequence[int] | np.ndarray) -> tuple[float, float]:
    """Return where an axis begins and ends that holds all of some places, with a little room beside them."""
    beside = max(0.25, 0.03 * float(np.ptp(places)))
    return float(np.min(places)) - beside, float(np.max(places)) + beside


def scale_by_size(axes: Axes, which: str, values: Any, most: int = 7) -> str:
    """Set a logarithmic scale where values, which are never negative, span decades; zero stands at its foot.

    Args:
        axes: Where.
        which: ``x`` or ``y``.
        values: All that is drawn along this axis; ends of intervals below zero count as zero.
        most: How many powers of ten are named at most.

    Returns:
        What the axis's name says of it behind its unit: nothing of a scale that is not logarithmic.
    """
    found = np.asarray(values, dtype=float).ravel()
    found = np.maximum(found[np.isfinite(found)], 0)
    positive = found[found > 0]
    set_limits, set_scale = getattr(axes, f"set_{which}lim"), getattr(axes, f"set_{which}scale")
    if not len(positive) or positive.max() < _DECADES * positive.min():
        set_limits(0, 1.06 * float(found.max(initial=0.0)) or 1.0)
        return ""
    axis: Any = getattr(axes, f"{which}axis")
    low, high = (int(np.floor(np.log10(end))) for end in (positive.min(), positive.max()))
    step = max(1, -(-(high - low + 2) // most))
    # At the foot 0 has its name.
    first = low if len(positive) == len(found) else low + step - 1
    decades = [10.0**power for power in range(first, high + 2, step)]
    if len(positive) == len(found):
        set_scale("log")
        set_limits(0.7 * positive.min(), 1.5 * positive.max())
        inside = [tick for tick in decades if 0.7 * positive.min() <= tick <= 1.5 * positive.max()]
        _name_powers(axis, inside or [float(positive.min())])
        return ", log scale"
    set_scale("symlog", linthresh=10.0**low, linscale=_FOOT)
    # A little below 0, so that a line along it is seen.
    set_limits(-0.03 * (high - low + 1 + _FOOT) / _FOOT * 10.0**low, 1.5 * positive.max())
    _name_powers(axis, [0.0, *(tick for tick in decades if tick <= 1.5 * positive.max())])
    return ", log scale, 0 at its foot"


def _name_powers(axis: Any, ticks: Sequence[float]) -> None:
    """Put ticks at powers of ten, as numbers where all of them are short and as powers otherwise."""
    short = all(tick == 0 or 1e-3 <= tick < 1e4 for tick in ticks)
    names = [f"{tick:g}" if short or tick == 0 else f"$10^{{{np.log10(tick):.3g}}}$" for tick in ticks]
    axis.set_ticks([], minor=True)
    axis.set_ticks(ticks, names)
