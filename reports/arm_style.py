"""What arms look like in every figure and table, and how their series are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import ARM_NAMES, ICL, ZERO_SHOT
from .numbers import number
from .style import RECIPE_COLOURS, SETTING_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..study.series import Series
    from ..study.sheet import Cell

ARM_COLOURS: Mapping[str, str] = {
    ZERO_SHOT: SETTING_COLOURS["zsl"],
    ICL: SETTING_COLOURS["icl"],
    **{name: RECIPE_COLOURS[preset] for preset, name in ARM_NAMES.items()},
}
_OTHER_COLOURS = ("#7f6fb0", "#a0a000", "#1a7f7f", "#b07aa1")
_RATE_STYLES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 1, 2)), (0, (2, 2)))
_RATE_MARKERS = ("o", "s", "^", "D", "v", "P")


def arm_colour(arm: str, arms: Sequence[str]) -> str:
    """Return an arm's colour: its own, its base arm's for a batch size, or one by its place among the others."""
    base = arm.rsplit(", batch ", 1)[0]
    if base in ARM_COLOURS:
        return ARM_COLOURS[base]
    bases = dict.fromkeys(name.rsplit(", batch ", 1)[0] for name in arms)
    unknown = [name for name in bases if name not in ARM_COLOURS]
    return _OTHER_COLOURS[unknown.index(base) % len(_OTHER_COLOURS)]


def line_style(place: int) -> dict[str, Any]:
    """Return how the line of a learning rate is drawn, by its place among its arm's."""
    return {
        "linestyle": _RATE_STYLES[place % len(_RATE_STYLES)],
        "marker": _RATE_MARKERS[place % len(_RATE_MARKERS)],
    }


def rate_colours(n: int) -> list[str]:
    """Return colours of n learning rates, from dark to light."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return (
        [to_hex(colormaps["plasma"](place)) for place in np.linspace(0.05, 0.8, n)] if n > 1 else ["#d55e00"]
    )


def series_name(series: Series) -> str:
    """Return the arm and its learning rate, and whether every run diverged."""
    if not series.learning_rates:
        return series.arm
    return f"{series.arm}, {series.rate_name}{diverged(series.mean)}"


def diverged(mean: np.ndarray) -> str:
    """Return what is said behind the name of a series that is undefined everywhere."""
    return " (diverged)" if np.isnan(mean).all() else ""


def model_title(name: str) -> str:
    """Return a model's name without the folders or the organisation in front of it."""
    return name.rstrip("/").rsplit("/", 1)[-1]


def draw_series(axes: Axes, series: Series, scale: float = 1.0, **style: Any) -> None:
    """Draw a mean over epochs with one standard deviation over draws shaded; undefined points are left out."""
    epochs = np.array(series.epochs, dtype=float)
    mean, std = scale * series.mean, scale * series.std
    axes.fill_between(epochs, mean - std, mean + std, color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(epochs, mean, **style)


def draw_level(
    axes: Axes, series: Series, scale: float = 1.0, linestyle: Any = "--", label: str = ""
) -> None:
    """Draw what does not depend on epochs as a horizontal line with its spread over draws."""
    mean, std = scale * float(series.mean[-1]), scale * float(series.std[-1])
    if mean != mean:
        return
    colour = ARM_COLOURS[series.arm]
    axes.axhspan(mean - std, mean + std, color=colour, alpha=0.10, linewidth=0)
    axes.axhline(mean, color=colour, linestyle=linestyle, linewidth=1.3, label=label or series.arm)


def draw_arms(axes: Axes, own: Sequence[Series], scale: float = 1.0) -> None:
    """Draw every arm and learning rate over epochs, what does not depend on them as levels.

    Args:
        axes: Where.
        own: The series of one measure, in the order in which arms are coloured.
        scale: What values are multiplied by.
    """
    arms = [entry.arm for entry in own]
    for entry in own:
        if entry.arm in (ICL, ZERO_SHOT):
            draw_level(axes, entry, scale, "--" if entry.arm == ICL else ":")
            continue
        place = [other for other in own if other.arm == entry.arm].index(entry)
        colour = arm_colour(entry.arm, arms)
        draw_series(axes, entry, scale, color=colour, label=series_name(entry), **line_style(place))


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
