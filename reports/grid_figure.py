"""The figure of comparisons for several numbers of shots and several recipes: measures against shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analyses.comparison.measures import DELTA, DELTA_NULL, PARTIAL, PARTIAL_NULL, MeasureOverDraws
from ..errors import UserError, shown
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..analyses.comparison.grid import ComparisonGrid

DEFAULT_MEASURES = (
    "accuracy, finetuned",
    "SimAOU",
    PARTIAL,
    "SimAM after finetuning",
    DELTA,
    "Jaccard, all changes",
)

_ICL, _ZERO_SHOT = style.SETTING_COLOURS["icl"], style.SETTING_COLOURS["zsl"]
# What stands beside a measure and does not depend on the recipe: name, label, colour.
_REFERENCES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "accuracy, finetuned": (
        ("accuracy, ICL", "ICL", _ICL),
        ("accuracy, zero-shot", "zero-shot", _ZERO_SHOT),
    ),
    "calibrated accuracy, finetuned": (
        ("calibrated accuracy, ICL", "ICL", _ICL),
        ("calibrated accuracy, zero-shot", "zero-shot", _ZERO_SHOT),
    ),
    "accuracy over the vocabulary, finetuned": (
        ("accuracy over the vocabulary, ICL", "ICL", _ICL),
        ("accuracy over the vocabulary, zero-shot", "zero-shot", _ZERO_SHOT),
    ),
    "SimAOU": (("SimAOU, null gaussian", "null: gaussian", style.MEASURE_COLOURS["SimAOU, null gaussian"]),),
    "SimAM after finetuning": (
        ("SimAM before finetuning", "before finetuning", style.MEASURE_COLOURS["SimAM before finetuning"]),
    ),
}
# The null that stands beside a measure for each recipe, in the recipe's colour.
_NULLS: Mapping[str, str] = {
    "SimAOU": "SimAOU, null shared_baseline",
    PARTIAL: PARTIAL_NULL,
    DELTA: DELTA_NULL,
}
_SPACING_OF_LINES = 0.06


def grid_figure(
    grid: ComparisonGrid, measures: Sequence[str] = DEFAULT_MEASURES, *, title: str = ""
) -> Figure:
    """Draw measures against the number of shots, one line a recipe.

    Bars are one standard deviation over draws of demonstrations. Dashed lines are what a measure is read against;
    dotted ones, in the recipe's colour, its null that keeps what the two changes share (`shared_baseline`), or which
    the partial SimAOU has of other queries.

    Args:
        grid: The comparisons.
        measures: Names of measures as in the table.
        title: What the figure is about.

    Raises:
        UserError: If there is no such measure.
    """
    values = {
        key: {measure.name: measure for measure in comparison.over_draws}
        for key, comparison in grid.comparisons.items()
    }
    known = next(iter(values.values()))
    for name in measures:
        if name not in known:
            raise UserError(
                f"there is no measure {shown(name)}: take one that table() of the grid lists, such as SimAOU"
            )
    columns = min(3 if len(measures) > 4 else 4, len(measures))
    rows = -(-len(measures) // columns)
    with style.figure_style():
        figure = style.new_figure(max(4.0, 3.1 * columns), 3.3 * rows)
        panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, name in zip(panels, measures, strict=False):
            _panel(axes, grid, values, name)
        for axes in panels[len(measures) :]:
            axes.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
        if title:
            figure.suptitle(title)
    return figure


def _panel(
    axes: Axes,
    grid: ComparisonGrid,
    values: Mapping[tuple[str, int], Mapping[str, MeasureOverDraws]],
    name: str,
) -> None:
    shots = sorted(grid.config.shots)
    places = np.arange(len(shots), dtype=float)
    dashed = {}
    for reference, label, colour in _REFERENCES.get(name, ()):
        column = [values[grid.recipes[0], count][reference] for count in shots]
        dashed[label] = _line(axes, places, column, colour, linestyle="--")
    colours = style.recipe_colours(grid.recipes)
    for position, recipe in enumerate(grid.recipes):
        shift = _SPACING_OF_LINES * (position - (len(grid.recipes) - 1) / 2)
        if name in _NULLS:
            column = [values[recipe, count][_NULLS[name]] for count in shots]
            drawn = _line(axes, places + shift, column, colours[recipe], linestyle=":", alpha=0.7)
            dashed.setdefault("null: " + _NULLS[name].split(", null ")[1].replace("_", " "), drawn)
        column = [values[recipe, count][name] for count in shots]
        _line(axes, places + shift, column, colours[recipe], label=recipe)
    if dashed:
        axes.margins(y=0.18)  # Room for the legend, which does not see bars.
        axes.legend(list(dashed.values()), list(dashed), fontsize=7, handlelength=2.6)
    unit = values[grid.recipes[0], shots[0]][name].unit
    axes.set_xticks(places, [str(count) for count in shots])
    axes.set_xlim(-0.35, len(shots) - 0.65)
    axes.set(xlabel="shots", ylabel=unit, title=name)


def _line(
    axes: Axes, places: np.ndarray, column: Sequence[MeasureOverDraws], colour: str, **looks: Any
) -> Any:
    spread = np.nan_to_num([measure.std for measure in column])
    return axes.errorbar(
        places,
        [measure.mean for measure in column],
        yerr=spread if spread.any() else None,
        color=colour,
        marker="o",
        elinewidth=0.9,
        capsize=2,
        **looks,
    )
