"""The figure of comparisons for several numbers of shots and several recipes: measures against shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError, shown
from ..study.names import DELTA, DELTA_NULL, PARTIAL, PARTIAL_NULL
from . import style
from .comparison_figures import subject_title

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


def grid_of(study: Study) -> Figure:
    """Draw a study's measures against the number of shots.

    Args:
        study: A study of comparisons.
    """
    return grid_figure(study.tables["over_draws"], title=subject_title(study))


def grid_figure(over_draws: Frame, measures: Sequence[str] = DEFAULT_MEASURES, *, title: str = "") -> Figure:
    """Draw measures against the number of shots, one line a recipe.

    Bars are one standard deviation over draws of demonstrations. Dashed lines are what a measure is read against;
    dotted ones, in the recipe's colour, its null that keeps what the two changes share (`shared_baseline`), or which
    the partial SimAOU has of other queries.

    Args:
        over_draws: One row a recipe, number of shots and measure: ``mean`` and ``std``.
        measures: Names of measures as in the table.
        title: What the figure is about.

    Raises:
        UserError: If there is no such measure.
    """
    known = set(over_draws["measure"])
    for name in measures:
        if name not in known:
            raise UserError(
                f"there is no measure {shown(name)}: take one that the table over_draws lists, such as SimAOU"
            )
    columns = min(3 if len(measures) > 4 else 4, len(measures))
    rows = -(-len(measures) // columns)
    with style.figure_style():
        figure = style.new_figure(max(4.0, 3.1 * columns), 3.3 * rows)
        panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, name in zip(panels, measures, strict=False):
            _panel(axes, over_draws, name)
        for axes in panels[len(measures) :]:
            axes.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
        if title:
            figure.suptitle(title)
    return figure


def _panel(axes: Axes, over_draws: Frame, name: str) -> None:
    shots = sorted({int(count) for count in over_draws["shots"]})
    recipes = list(dict.fromkeys(over_draws["recipe"]))
    places = np.arange(len(shots), dtype=float)
    dashed = {}

    def column(measure: str, recipe: str) -> Frame:
        found = over_draws[(over_draws["measure"] == measure) & (over_draws["recipe"] == recipe)]
        return found.set_index("shots").loc[shots]

    for reference, label, colour in _REFERENCES.get(name, ()):
        dashed[label] = _line(axes, places, column(reference, recipes[0]), colour, linestyle="--")
    colours = style.recipe_colours(recipes)
    for position, recipe in enumerate(recipes):
        shift = _SPACING_OF_LINES * (position - (len(recipes) - 1) / 2)
        if name in _NULLS:
            null = column(_NULLS[name], recipe)
            drawn = _line(axes, places + shift, null, colours[recipe], linestyle=":", alpha=0.7)
            dashed.setdefault("null: " + _NULLS[name].split(", null ")[1].replace("_", " "), drawn)
        _line(axes, places + shift, column(name, recipe), colours[recipe], label=recipe)
    if dashed:
        axes.margins(y=0.18)  # Room for the legend, which does not see bars.
        axes.legend(list(dashed.values()), list(dashed), fontsize=7, handlelength=2.6)
    axes.set_xticks(places, [str(count) for count in shots])
    axes.set_xlim(-0.35, len(shots) - 0.65)
    axes.set(xlabel="shots", ylabel=column(name, recipes[0])["unit"].iloc[0], title=name)


def _line(axes: Axes, places: np.ndarray, column: Frame, colour: str, **looks: Any) -> Any:
    spread = np.nan_to_num(column["std"].to_numpy(dtype=float))
    return axes.errorbar(
        places,
        column["mean"].to_numpy(dtype=float),
        yerr=spread if spread.any() else None,
        color=colour,
        marker="o",
        elinewidth=0.9,
        capsize=2,
        **looks,
    )
