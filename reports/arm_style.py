"""What arms look like in every figure and table, and how their series are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import ICL, ZERO_SHOT
from .intervals import LEVEL_LINE, draw_band, draw_level_band, spread_words
from .numbers import number
from .style import NAMED_COLOURS, colours_of
from .ticks import around, name_layers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..study.series import Series
    from ..study.sheet import Cell

LEVEL_LINES: Mapping[str, Any] = {ICL: LEVEL_LINE, ZERO_SHOT: (0, (4, 1.5, 1, 1.5))}
"""How what does not depend on epochs is drawn."""
_RATE_STYLES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 1, 2)), (0, (2, 2)))
_RATE_MARKERS = ("o", "s", "^", "D", "v", "P")


def line_style(place: int) -> dict[str, Any]:
    """Return how the line of a learning rate is drawn, by its place among its arm's."""
    return {
        "linestyle": _RATE_STYLES[place % len(_RATE_STYLES)],
        "marker": _RATE_MARKERS[place % len(_RATE_MARKERS)],
    }


def arm_and_rate(series: Series) -> str:
    """Return the arm and its learning rate, if it has any."""
    return f"{series.arm}, {series.rate_name}" if series.learning_rates else series.arm


def legend_name(series: Series) -> str:
    """Return the arm and its learning rate; rates that were chosen differ from panel to panel."""
    return (f"{series.arm}, auto" if series.chosen else arm_and_rate(series)) + diverged(series.mean)


def diverged(mean: np.ndarray) -> str:
    """Return what is said behind the name of a series that is undefined everywhere."""
    return " (diverged)" if np.isnan(mean).all() else ""


def model_title(name: str) -> str:
    """Return a model's name without the folders or the organisation in front of it."""
    return name.rstrip("/").rsplit("/", 1)[-1]


def draw_series(axes: Axes, series: Series, scale: float = 1.0, **looks: Any) -> None:
    """Draw a mean over epochs with one standard deviation over draws as a band; undefined points are left out."""
    epochs = np.array(series.epochs, dtype=float)
    mean, std = scale * series.mean, scale * series.std
    draw_band(axes, epochs, mean - std, mean + std, looks["color"])
    axes.plot(epochs, mean, **looks)


def draw_level(axes: Axes, series: Series, scale: float = 1.0) -> None:
    """Draw ICL or zero-shot, which do not depend on epochs, as a horizontal line with its spread over draws."""
    mean, std = scale * float(series.mean[-1]), scale * float(series.std[-1])
    if mean != mean:
        return
    colour = NAMED_COLOURS[series.arm]
    draw_level_band(axes, mean - std, mean + std, colour)
    axes.axhline(mean, color=colour, linestyle=LEVEL_LINES[series.arm], linewidth=1.3, label=series.arm)


def draw_arms(axes: Axes, own: Sequence[Series], scale: float = 1.0) -> None:
    """Draw every arm and learning rate over epochs, what does not depend on them as levels.

    Args:
        axes: Where.
        own: The series of one measure, in the order in which arms are coloured.
        scale: What values are multiplied by.
    """
    colours = colours_of(entry.arm for entry in own)
    for entry in own:
        if entry.arm in LEVEL_LINES:
            draw_level(axes, entry, scale)
            continue
        place = [other for other in own if other.arm == entry.arm].index(entry)
        draw_series(
            axes, entry, scale, color=colours[entry.arm], label=legend_name(entry), **line_style(place)
        )


def reach(own: Sequence[Series], scale: float = 1.0) -> np.ndarray:
    """Return the ends of every spread that is drawn of some series."""
    ends = [scale * (entry.mean + sign * entry.std) for entry in own for sign in (-1, 1)]
    found = np.concatenate([np.zeros(0), *ends])
    return found[np.isfinite(found)]


def name_epochs(axes: Axes, own: Sequence[Series]) -> None:
    """Put ticks at the first and the last epoch, and at even distances between."""
    epochs = sorted({epoch for entry in own for epoch in entry.epochs if epoch is not None})
    if epochs:
        name_layers(axes.xaxis, epochs, most=6)
        axes.set_xlim(around(epochs))


def spread_of(draws: int, own: Sequence[Series]) -> str:
    """Return what bands and bars of arms are."""
    return spread_words(draws, " and the layers drawn" if any(entry.layers for entry in own) else "")


def spread(values: np.ndarray, form: str = ".3g", scale: float = 1.0) -> Cell:
    """Return mean and population standard deviation of what is defined; a dash of nothing."""
    defined = scale * values[~np.isnan(values)]
    if not len(defined):
        return ("–",)
    mean = number(float(defined.mean()), form)
    if len(defined) == 1:
        return (mean,)
    return mean, f"± {number(float(defined.std()), '.2g' if 'g' in form else form)}"


def spread_note(draws: int, series: Sequence[Series], more: str) -> str:
    """Say what the spread in a table is over, and what its numbers are of.

    Args:
        draws: How many draws of demonstrations there are.
        series: Any measure of every arm and rate.
        more: What the numbers are of.
    """
    drawn = any(entry.layers for entry in series)
    over = f"{draws} draw{'s' * (draws != 1)} of demonstrations{' and the layers drawn' if drawn else ''}"
    return f"mean ± std over {over}; {more}"
