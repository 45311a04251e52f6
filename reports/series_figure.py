"""The figure of a series of checkpoints: how like ICL each step of a training run is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..study.names import DELTA, PARTIAL
from . import style
from .checkpoint_axis import CheckpointAxis, checkpoint_axis
from .figure_text import subject_title
from .intervals import LEVEL_LINE, draw_points, null_handle, null_looks
from .panels import finish, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

# Title, axis and measure of each panel, and what the measure is read against.
_PANELS = (
    ("attention output updates", "SimAOU (cosine)", "SimAOU", "shared_baseline"),
    ("… particular to the query", f"{PARTIAL} (cosine)", PARTIAL, "permuted_pairs"),
    ("attention scores", "SimAM (cosine)", "SimAM after finetuning", ""),
    ("changes of the scores", "SimAM delta (cosine)", DELTA, "shared_baseline"),
)
_ACCURACY = "accuracy, finetuned"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_BESIDE = 46.0


def series_of(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw how like ICL each checkpoint of a training run is, with its nulls, and its accuracy.

    Args:
        study: A study of the checkpoints of one training run.
        width: In inches.
    """
    queries = study.tables["draws"]["queries"].max()
    return series_figure(
        study.tables["series"],
        study.tables["over_draws"],
        title=subject_title(study.config),
        intervals=f"{100 * study.config.level:g}% interval over {queries} queries",
        width=width,
    )


def series_figure(
    series: Frame,
    over_draws: Frame,
    *,
    title: str = "",
    intervals: str = "interval",
    width: float = style.TWO_COLUMNS,
) -> Figure:
    """Draw similarities and accuracy over the checkpoints of a training run, one colour a number of shots.

    Bars are bootstrap intervals. The largest of a series has a ring around it. Dotted is what a measure is read
    against: its null, in the null's colour, or SimAM before finetuning.

    Args:
        series: One row a checkpoint, number of shots and measure.
        over_draws: One row a checkpoint, number of shots and measure, for the accuracy of ICL and zero-shot.
        title: What the figure is about.
        intervals: What bars are.
        width: In inches.
    """
    places = series.drop_duplicates("place").sort_values("place")
    names = places["step"].astype(str).where(places["step"].notna(), places["recipe"])
    checkpoints = checkpoint_axis(places.assign(checkpoint=names))
    with style.figure_style():
        made = panels(width, len(_PANELS) + 1, height=2.1, most=3)
        for axes, (_, label, measure, null) in zip(made.axes, _PANELS, strict=False):
            _panel(axes, series[series["measure"] == measure], checkpoints, null)
            axes.set_ylabel(label)
        accuracy = made.axes[len(_PANELS)]
        _panel(accuracy, series[series["measure"] == _ACCURACY], checkpoints, None)
        _settings(accuracy, over_draws)
        accuracy.set_ylabel("accuracy (%)")
        for axes in made.axes:
            checkpoints.draw(axes, "x", made.points - _BESIDE)
            checkpoints.leave_room(axes)
            axes.margins(y=0.12)
        made.title([*(heading for heading, *_ in _PANELS), "accuracy over the label set"])
        nulls = [null_handle(kind) for kind in dict.fromkeys(null for *_, null in _PANELS) if kind]
        notes = [
            "rings: the largest of the series",
            "open markers: nulls, with the marker of the number of shots",
        ]
        finish(made.figure, title=title, intervals=intervals, notes=notes, more=nulls)
    return made.figure


def _panel(axes: Axes, rows: Frame, checkpoints: CheckpointAxis, null: str | None) -> None:
    """Draw a measure at each checkpoint, beside what it is read against, if that is anything."""
    for place, shots, colour in _lines(rows):
        found = rows[rows["shots"] == shots].sort_values("place")
        value, low, high, against = (
            found[name].to_numpy(dtype=float) for name in ("value", "low", "high", "null")
        )
        at = checkpoints.places[found["place"].to_numpy(dtype=int)]
        marker = _MARKERS[place % len(_MARKERS)]
        bars = np.nan_to_num(np.stack([value - low, high - value]).clip(0))
        label = f"{_shots(shots)}, finetuned"
        draw_points(axes, at, value, bars, colour, linestyle="-", marker=marker, label=label)
        if null is None:
            continue
        grey = style.MEASURE_COLOURS["SimAM before finetuning"]
        looks = null_looks(color=style.NULL_COLOURS[null] if null else grey, marker=marker)
        if not null:
            looks |= {"label": "SimAM before finetuning"}
        axes.plot(at, against, **looks)
        most = found["most"].to_numpy(dtype=bool)
        axes.plot(at[most], value[most], "o", markersize=8, markerfacecolor="none", color=colour)


def _settings(axes: Axes, over_draws: Frame) -> None:
    """Draw the accuracies that do not depend on the step."""
    icl = over_draws[over_draws["measure"] == "accuracy, ICL"].drop_duplicates("shots").set_index("shots")
    for _, shots, colour in _lines(over_draws):
        label = f"{_shots(shots)}, ICL"
        axes.axhline(icl.loc[shots, "mean"], color=colour, linestyle=LEVEL_LINE, linewidth=1.2, label=label)
    (zero_shot, *_) = over_draws.loc[over_draws["measure"] == "accuracy, zero-shot", "mean"]
    axes.axhline(
        zero_shot, color=style.SETTING_COLOURS["zsl"], linestyle=LEVEL_LINE, linewidth=1.2, label="zero-shot"
    )


def _lines(rows: Frame) -> list[tuple[int, int, str]]:
    """Return the place of each number of shots, the number, and its colour."""
    shots = sorted({int(count) for count in rows["shots"]})
    colours = style.ordered_colours(len(shots))
    return [(place, count, colours[place]) for place, count in enumerate(shots)]


def _shots(count: int) -> str:
    return f"{count} shot{'s' * (count > 1)}"
