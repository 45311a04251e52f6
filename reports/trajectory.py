"""A comparison along finetuning: where it is nearest to ICL, and the figure of measures against that distance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import LABEL_KL_FINDING, PARTIAL
from ..study.sheet import Block, Cell, Sheet, sheet_of
from . import style
from .figure_text import subject_title
from .panels import finish, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_COLUMNS = ("SimAOU", PARTIAL, "SimAM after finetuning", "accuracy", "calibrated accuracy", LABEL_KL_FINDING)
_MEASURES = ("SimAOU", PARTIAL, "SimAM after finetuning")
_DISTANCES = {
    "accuracy": "accuracy less ICL's (points)",
    "label KL": "label KL from ICL (nats)",
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")


def trajectory_sheet(study: Study) -> Sheet:
    """Return, for each learning rate, every measure at the step that is nearest to ICL, and the accuracies of ICL.

    Args:
        study: A study along finetuning.
    """
    matched = study.tables["matched"]
    blocks = []
    for by, found in matched.groupby("by", sort=False):
        rows = []
        for (shots, rate), own in found.groupby(["shots", "learning_rate"], sort=False):
            cells = {row["measure"]: _cell(row) for row in own.to_dict("records")}
            first = own.iloc[0]
            star = " (nearest)" if first["nearest"] else ""
            rows.append(
                (
                    f"{shots} shots, rate {rate:g}{star}",
                    ((str(first["step"]),), _distance(first, str(by)), *(cells[name] for name in _COLUMNS)),
                )
            )
        columns = ("step", "what is left", *(name.removesuffix(" after finetuning") for name in _COLUMNS))
        blocks.append(Block(f"nearest to ICL in {by}", columns, tuple(rows)))
    blocks.append(_settings(study.tables["settings"]))
    return sheet_of(study, tuple(blocks), _notes(study))


def _settings(settings: Frame) -> Block:
    names = {"zsl": "zero-shot", "icl": "ICL"}
    rows = []
    for (shots, setting), own in settings.groupby(["shots", "setting"], sort=False):
        cells = {row["measure"]: _cell(row) for row in own.to_dict("records")}
        rows.append(
            (f"{names[str(setting)]}, {shots} shots", (cells["accuracy"], cells["calibrated accuracy"]))
        )
    return Block("%", ("accuracy", "calibrated accuracy"), tuple(rows))


def _notes(study: Study) -> tuple[str, ...]:
    level = f"{100 * study.config.level:g}%"
    return (
        f"Of every learning rate the step that is nearest to ICL. [low, high]: {level} intervals: bootstrap over "
        "queries, each with all draws of demonstrations; they are not corrected for the choice of the step.",
        "what is left: accuracy of the finetuned model less ICL's in points, or the divergence of its distribution "
        "over the labels from ICL's in nats. Where much is left, no step answers as ICL does, and the match is none.",
        "Where learning rates that come equally near differ in a similarity, a verdict on that similarity hangs on "
        "the step and the rate that one happens to take.",
    )


def _cell(row: Any) -> Cell:
    if math.isnan(row["value"]):
        return ("undefined",)
    digits = 1 if row["unit"] == "%" else 3
    if math.isnan(row["low"]):
        return (f"{row['value']:.{digits}f}",)
    return (f"{row['value']:.{digits}f}", "", f"[{row['low']:.{digits}f}, {row['high']:.{digits}f}]")


def _distance(row: Any, by: str) -> Cell:
    digits, sign = (1, "+") if by == "accuracy" else (3, "")
    value = f"{row['distance']:{sign}.{digits}f}"
    if math.isnan(row["distance_low"]):
        return (value,)
    return (value, "", f"[{row['distance_low']:.{digits}f}, {row['distance_high']:.{digits}f}]")


def trajectory_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw each similarity against the distance from ICL in accuracy and in label KL, one line a learning rate.

    Lines go from step to step; a ring is around the step that is nearest to ICL.

    Args:
        study: A study along finetuning.
        width: In inches.
    """
    points, matched = study.tables["points"], study.tables["matched"]
    rates = sorted(dict.fromkeys(points["learning_rate"]))
    colours = dict(zip(rates, style.ordered_colours(len(rates)), strict=True))
    shots = list(dict.fromkeys(points["shots"]))
    with style.figure_style():
        made = panels(width, len(_MEASURES) * len(_DISTANCES), height=2.0, most=len(_MEASURES))
        axes_of = iter(made.axes)
        titles = []
        for by, label in _DISTANCES.items():
            for measure in _MEASURES:
                axes = next(axes_of)
                for place, count in enumerate(shots):
                    for rate in rates:
                        own = points[(points["shots"] == count) & (points["learning_rate"] == rate)]
                        name = f"rate {rate:g}" if len(shots) == 1 else f"{count} shots, rate {rate:g}"
                        line = _along(own, measure, by, _icl(study, count))
                        axes.plot(
                            line[0],
                            line[1],
                            color=colours[rate],
                            marker=_MARKERS[place % len(_MARKERS)],
                            label=name,
                        )
                    _ring(axes, matched, points, measure, by, count, _icl(study, count))
                if by == "accuracy":
                    axes.axvline(0, color=style.NOTE_INK, linewidth=0.8, linestyle=(0, (4, 1.6)))
                axes.set(xlabel=label, ylabel="cosine")
                axes.margins(x=0.08, y=0.12)
                titles.append(measure)
        made.title(titles)
        finish(
            made.figure,
            title=subject_title(study.config),
            notes=[
                "lines go from step to step; rings: the step that is nearest to ICL; broken line: ICL's accuracy"
            ],
        )
    return made.figure


def _icl(study: Study, shots: int) -> float:
    settings = study.tables["settings"]
    own = settings[(settings["shots"] == shots) & (settings["setting"] == "icl")]
    return float(own[own["measure"] == "accuracy"]["value"].iloc[0])


def _along(points: Frame, measure: str, by: str, icl: float) -> tuple[Any, Any]:
    """Return the distances from ICL and a measure, step by step."""
    wide = points.pivot(index="step", columns="measure", values="value").sort_index()
    return _distances(wide, by, icl), wide[measure].to_numpy(dtype=float)


def _distances(wide: Frame, by: str, icl: float) -> Any:
    if by == "accuracy":
        return wide["accuracy"].to_numpy(dtype=float) - icl
    return wide[LABEL_KL_FINDING].to_numpy(dtype=float)


def _ring(axes: Axes, matched: Frame, points: Frame, measure: str, by: str, shots: int, icl: float) -> None:
    best = matched[(matched["by"] == by) & (matched["shots"] == shots) & matched["nearest"]]
    best = best[best["measure"] == measure]
    if best.empty or not np.isfinite(best.iloc[0]["value"]):
        return
    row = best.iloc[0]
    own = points[(points["shots"] == shots) & (points["learning_rate"] == row["learning_rate"])]
    x, y = _along(own[own["step"] == row["step"]], measure, by, icl)
    axes.plot(x, y, linestyle="none", marker="o", markersize=8, markerfacecolor="none", color=style.INK)
