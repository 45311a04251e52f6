"""The figure of comparisons for several numbers of shots and several recipes: measures against shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError, shown
from ..study.names import DELTA, PARTIAL
from . import style
from .figure_text import short_name, subject_title
from .intervals import LEVEL_LINE, draw_points, null_handle, null_looks, spread_words
from .panels import finish, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

DEFAULT_MEASURES = (
    "accuracy, finetuned",
    "SimAOU",
    PARTIAL,
    "SimAM after finetuning",
    DELTA,
    "Jaccard, all changes",
)

_ICL, _ZERO_SHOT = ("ICL", style.SETTING_COLOURS["icl"]), ("zero-shot", style.SETTING_COLOURS["zsl"])
# What stands beside a measure and does not depend on the recipe: name, label, colour.
_REFERENCES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "accuracy, finetuned": (("accuracy, ICL", *_ICL), ("accuracy, zero-shot", *_ZERO_SHOT)),
    "calibrated accuracy, finetuned": (
        ("calibrated accuracy, ICL", *_ICL),
        ("calibrated accuracy, zero-shot", *_ZERO_SHOT),
    ),
    "accuracy over the vocabulary, finetuned": (
        ("accuracy over the vocabulary, ICL", *_ICL),
        ("accuracy over the vocabulary, zero-shot", *_ZERO_SHOT),
    ),
    "SimAM after finetuning": (
        (
            "SimAM before finetuning",
            "SimAM before finetuning",
            style.MEASURE_COLOURS["SimAM before finetuning"],
        ),
    ),
}
_SPACING_OF_LINES = 0.06
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")


def grid_of(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw measures with their nulls against the number of shots, one line a recipe.

    Args:
        study: A study of comparisons.
        width: In inches.
    """
    return grid_figure(study.tables["over_draws"], title=subject_title(study.config), width=width)


def grid_figure(
    over_draws: Frame,
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    title: str = "",
    width: float = style.TWO_COLUMNS,
) -> Figure:
    """Draw measures against the number of shots, one colour and marker a recipe.

    Bars are one standard deviation over draws of demonstrations. Dashed lines are what a measure is read against;
    dotted ones its nulls, each in its colour, with the recipe's marker.

    Args:
        over_draws: One row a recipe, number of shots and measure: ``mean`` and ``std``.
        measures: Names of measures as in the table.
        title: What the figure is about.
        width: In inches.

    Raises:
        UserError: If there is no such measure.
    """
    known = list(dict.fromkeys(over_draws["measure"]))
    for name in measures:
        if name not in known:
            raise UserError(
                f"there is no measure {shown(name)}: take one that the table over_draws lists, such as SimAOU"
            )
    nulls = {name: [each for each in known if each.startswith(f"{name}, null ")] for name in measures}
    drawn = dict.fromkeys(each.partition(", null ")[2] for found in nulls.values() for each in found)
    with style.figure_style():
        made = panels(width, len(measures), height=2.0, most=3)
        for axes, name in zip(made.axes, measures, strict=True):
            _panel(axes, over_draws, name, nulls[name])
        for axes in made.bottom:
            axes.set_xlabel("shots")
        made.title(measures)
        finish(
            made.figure,
            title=title,
            intervals=spread_words(int(over_draws["draws"].max())),
            more=[null_handle(kind) for kind in drawn],
            notes=["open markers: nulls, with the marker of the recipe"] if drawn else [],
        )
    return made.figure


def _panel(axes: Axes, over_draws: Frame, name: str, nulls: Sequence[str]) -> None:
    shots = sorted({int(count) for count in over_draws["shots"]})
    recipes = list(dict.fromkeys(over_draws["recipe"]))
    places = np.arange(len(shots), dtype=float)
    colours = style.colours_of(recipes)

    def column(measure: str, recipe: str) -> Frame:
        found = over_draws[(over_draws["measure"] == measure) & (over_draws["recipe"] == recipe)]
        return found.set_index("shots").loc[shots]

    for reference, label, colour in _REFERENCES.get(name, ()):
        _line(axes, places, column(reference, recipes[0]), colour, linestyle=LEVEL_LINE, label=label)
    for position, recipe in enumerate(recipes):
        shifted = places + _SPACING_OF_LINES * (position - (len(recipes) - 1) / 2)
        marker = _MARKERS[position % len(_MARKERS)]
        for null in nulls:
            colour = style.NULL_COLOURS[null.partition(", null ")[2]]
            _line(axes, shifted, column(null, recipe), colour, **null_looks(marker=marker))
        _line(
            axes,
            shifted,
            column(name, recipe),
            colours[recipe],
            linestyle="-",
            marker=marker,
            label=short_name(recipe, 32),
        )
    axes.set_xticks(places, [str(count) for count in shots])
    axes.set_xlim(-0.35, len(shots) - 0.65)
    axes.set(ylabel=column(name, recipes[0])["unit"].iloc[0])


def _line(axes: Axes, places: np.ndarray, column: Frame, colour: str, **looks: Any) -> None:
    mean, std = (column[each].to_numpy(dtype=float) for each in ("mean", "std"))
    draw_points(axes, places, mean, std, colour, **looks)
