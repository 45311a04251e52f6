"""The figure of a series of checkpoints: how like ICL each step of a training run is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import DELTA, PARTIAL
from . import style
from .comparison_figures import subject_title
from .heatmap import column_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from ..study.columns import Frame
    from ..study.study import Study

# Title, axis and measure of each panel, and what the measure is read against.
_PANELS = (
    ("attention output updates", "SimAOU (cosine)", "SimAOU", "null: shared baseline"),
    ("… particular to the query", f"{PARTIAL} (cosine)", PARTIAL, "null: permuted pairs"),
    ("attention scores", "SimAM (cosine)", "SimAM after finetuning", "before finetuning"),
    ("changes of the scores", "SimAM delta (cosine)", DELTA, "null: shared baseline"),
)
_ACCURACY = "accuracy, finetuned"
# One colour a number of shots.
_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a3d9a", "#8c510a")
_SPACING = 0.08


def series_of(study: Study) -> Figure:
    """Draw how like ICL each checkpoint of a study's series is.

    Args:
        study: A study of the checkpoints of one training run.
    """
    queries = study.tables["draws"]["queries"].max()
    note = (
        f"bars: {100 * study.config.level:g}% bootstrap over {queries} queries; rings: the largest of the series; "
        "dotted: what the measure is read against"
    )
    return series_figure(
        study.tables["series"], study.tables["over_draws"], title=subject_title(study), note=note
    )


def series_figure(series: Frame, over_draws: Frame, *, title: str = "", note: str = "") -> Figure:
    """Draw similarities and accuracy over the checkpoints of a training run, one line a number of shots.

    Bars are bootstrap intervals. The largest of a series has a ring around it. Dotted is what a measure is read
    against: its null, or SimAM before finetuning.

    Args:
        series: One row a checkpoint, number of shots and measure.
        over_draws: One row a checkpoint, number of shots and measure, for the accuracy of ICL and zero-shot.
        title: What the figure is about.
        note: What stands below.
    """
    places = series.drop_duplicates("place").sort_values("place")
    labels = places["step"].astype(str).where(places["step"].notna(), places["recipe"]).tolist()
    with style.figure_style():
        figure = style.new_figure(10.5, 6.4)
        panels: list[Axes] = list(figure.subplots(2, 3).flat)
        for axes, (heading, label, measure, against) in zip(panels, _PANELS, strict=False):
            _panel(axes, series[series["measure"] == measure], against)
            axes.set(title=heading, ylabel=label)
        _panel(panels[4], series[series["measure"] == _ACCURACY])
        _settings(panels[4], over_draws)
        panels[4].set(title="accuracy over the label set", ylabel="%")
        for axes in panels[:5]:
            column_names(axes, labels)
            axes.set_xlabel("step")
            axes.margins(x=0.08, y=0.12)
        panels[5].set_axis_off()
        handles, names = panels[4].get_legend_handles_labels()
        panels[5].legend(handles, names, loc="center", handlelength=2.6)
        if title:
            figure.suptitle(title)
        figure.supxlabel(note, fontsize=8, color="#555555")
    return figure


def _panel(axes: Axes, rows: Frame, against: str = "") -> None:
    """Draw a measure at each checkpoint, beside what it is read against, if that is anything."""
    dotted: list[Line2D] = []
    for shift, shots, colour in _lines(rows):
        found = rows[rows["shots"] == shots].sort_values("place")
        places, value, low, high, null = (
            found[name].to_numpy(dtype=float) for name in ("place", "value", "low", "high", "null")
        )
        places = places + shift
        bars = np.nan_to_num(np.stack([value - low, high - value]).clip(0))
        look: dict[str, Any] = {"marker": "o", "elinewidth": 0.9, "capsize": 2}
        axes.errorbar(places, value, yerr=bars, color=colour, label=f"finetuned, {_shots(shots)}", **look)
        if against:
            dotted += axes.plot(places, null, ":", color=colour, alpha=0.7)
            most = found["most"].to_numpy(dtype=bool)
            axes.plot(places[most], value[most], "o", markersize=9, markerfacecolor="none", color=colour)
    if dotted:
        axes.legend(dotted[:1], [against], loc="best", fontsize=7, handlelength=2.6)


def _settings(axes: Axes, over_draws: Frame) -> None:
    """Draw the accuracies that do not depend on the step."""
    icl = over_draws[over_draws["measure"] == "accuracy, ICL"].drop_duplicates("shots").set_index("shots")
    for _, shots, colour in _lines(over_draws):
        axes.axhline(
            icl.loc[shots, "mean"], color=colour, linestyle="--", linewidth=1.2, label=f"ICL, {_shots(shots)}"
        )
    (zero_shot, *_) = over_draws.loc[over_draws["measure"] == "accuracy, zero-shot", "mean"]
    axes.axhline(
        zero_shot, color=style.SETTING_COLOURS["zsl"], linestyle="--", linewidth=1.2, label="zero-shot"
    )


def _lines(rows: Frame) -> list[tuple[float, int, str]]:
    """Return how far a line is shifted, so that bars do not hide each other, its number of shots, and its colour."""
    shots = sorted({int(count) for count in rows["shots"]})
    return [
        (_SPACING * (place - (len(shots) - 1) / 2), count, _COLOURS[place % len(_COLOURS)])
        for place, count in enumerate(shots)
    ]


def _shots(count: int) -> str:
    return f"{count} shot{'s' * (count > 1)}"
