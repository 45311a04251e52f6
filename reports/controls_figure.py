"""The figure of a comparison under controls: accuracies, SimAOU and SimAM under each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..analyses.comparison.measures import MeasureOverDraws
from . import style
from .comparison_names import PARTIAL
from .controls_table import control_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..analyses.controls.study import ControlsStudy

_SETTINGS, _MEASURES = style.SETTING_COLOURS, style.MEASURE_COLOURS
# Title and axis of each panel, and what is in it: measure, label and colour.
_PANELS: tuple[tuple[str, str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "accuracy, label set",
        "%",
        (
            ("accuracy, zero-shot", "zero-shot", _SETTINGS["zsl"]),
            ("accuracy, ICL", "ICL", _SETTINGS["icl"]),
            ("accuracy, finetuned", "finetuned", _SETTINGS["ft"]),
        ),
    ),
    (
        "attention output updates",
        "SimAOU (cosine)",
        (
            ("SimAOU, null gaussian", "null: gaussian", _MEASURES["SimAOU, null gaussian"]),
            (
                "SimAOU, null permuted_pairs",
                "null: permuted pairs",
                _MEASURES["SimAOU, null permuted_pairs"],
            ),
            (
                "SimAOU, null shared_baseline",
                "null: shared baseline",
                _MEASURES["SimAOU, null shared_baseline"],
            ),
            ("SimAOU", "measured", _MEASURES["SimAOU"]),
            (PARTIAL, "partial", _MEASURES[PARTIAL]),
        ),
    ),
    (
        "attention scores",
        "SimAM (cosine)",
        (
            ("SimAM before finetuning", "before finetuning", _MEASURES["SimAM before finetuning"]),
            ("SimAM after finetuning", "after finetuning", _MEASURES["SimAM after finetuning"]),
        ),
    ),
)
_SPACING = 0.2
# Room for all points of a row within it.
_MOST_SPREAD = 0.6


def controls_figure(study: ControlsStudy) -> Figure:
    """Draw accuracies, SimAOU with its nulls, and SimAM before and after finetuning, one row a control.

    Bars are one standard deviation over draws of demonstrations.

    Args:
        study: The study.
    """
    controls = tuple(study.draws)
    values = [{measure.name: measure for measure in study.measures(control)} for control in controls]
    config, draws = study.config, len(study.config.seeds)
    with style.figure_style():
        figure = style.new_figure(9.6, 1.9 + 0.42 * len(controls))
        panels: list[Axes] = list(figure.subplots(1, len(_PANELS), sharey=True))
        for axes, (title, label, measures) in zip(panels, _PANELS, strict=True):
            for place, (name, short, colour) in enumerate(measures):
                spacing = min(_SPACING, _MOST_SPREAD / (len(measures) - 1))
                shift = spacing * (place - (len(measures) - 1) / 2)
                _points(axes, values, name, short, colour, shift)
            _rows(axes, len(controls))
            axes.set(title=title, xlabel=label)
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.1 - 0.4 / len(controls)),
                ncols=2,
                fontsize=7.5,
                handletextpad=0.2,
                columnspacing=1.0,
            )
        panels[0].set_yticks(range(len(controls)), [control_title(control) for control in controls])
        panels[0].invert_yaxis()
        shots = f"{config.shots} shot{'s' * (config.shots > 1)}"
        figure.suptitle(f"{config.model.rstrip('/').rsplit('/', 1)[-1]} on {config.task}, {shots}")
        note = "one draw of demonstrations"
        if draws > 1:
            note = f"points: mean over {draws} draws of demonstrations; bars: ± one standard deviation"
        figure.supxlabel(note, fontsize=8, color="#555555")
    return figure


def _points(
    axes: Axes,
    values: list[dict[str, MeasureOverDraws]],
    name: str,
    label: str,
    colour: str,
    shift: float,
) -> None:
    column: list[MeasureOverDraws] = [measures[name] for measures in values]
    spread = np.nan_to_num([measure.std for measure in column])
    axes.errorbar(
        [measure.mean for measure in column],
        np.arange(len(column)) + shift,
        xerr=spread if spread.any() else None,
        linestyle="none",
        marker="o",
        markersize=4.5,
        color=colour,
        label=label,
        elinewidth=0.9,
        capsize=2,
    )


def _rows(axes: Axes, count: int) -> None:
    """Give every other row a ground, so that points are read along their row."""
    for row in range(0, count, 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", zorder=0)
    axes.set_ylim(-0.5, count - 0.5)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.tick_params(axis="y", length=0)
