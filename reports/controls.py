"""One comparison under several controls: the sheet, and the figure of accuracies, SimAOU and SimAM under each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import PARTIAL
from ..study.sheet import Sheet, sheet_of
from . import style
from .comparison_rows import row_alarms, row_blocks, row_notes, spread_note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

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


def controls_sheet(study: Study) -> Sheet:
    """Return every number under each control, mean over draws with their spread, one row a control.

    Args:
        study: A study of controls.
    """
    draws = len(study.config.seeds)
    rows = {
        control_title(control): measures
        for control, measures in study.tables["over_draws"].groupby("control", sort=False)
    }
    notes = (spread_note(draws), *row_notes(study.tables["layers"]))
    sheet = sheet_of(study, row_blocks(rows, draws), notes)
    return replace(sheet, alarms=row_alarms(study.findings, _row, draws))


def control_title(control: str) -> str:
    """Return a control's name as a table and a figure show it."""
    return control.replace("_", " ")


def _row(where: Mapping[str, Any]) -> str:
    return control_title(where["control"])


def controls_figure(study: Study) -> Figure:
    """Draw accuracies, SimAOU with its nulls, and SimAM before and after finetuning, one row a control.

    Args:
        study: A study of controls.
    """
    config, draws = study.config, len(study.config.seeds)
    shots = f"{config.shots} shot{'s' * (config.shots > 1)}"
    note = "one draw of demonstrations"
    if draws > 1:
        note = f"points: mean over {draws} draws of demonstrations; bars: ± one standard deviation"
    title = f"{config.model.rstrip('/').rsplit('/', 1)[-1]} on {config.task}, {shots}"
    return measures_figure(study.tables["over_draws"], title=title, note=note)


def measures_figure(over_draws: Frame, *, title: str = "", note: str = "") -> Figure:
    """Draw accuracies, SimAOU with its nulls, and SimAM before and after finetuning, one row a control.

    Bars are one standard deviation over draws of demonstrations.

    Args:
        over_draws: One row a control and measure: ``mean`` and ``std``.
        title: What stands above.
        note: What stands below.
    """
    controls = list(dict.fromkeys(over_draws["control"]))
    with style.figure_style():
        figure = style.new_figure(9.6, 1.9 + 0.42 * len(controls))
        panels: list[Axes] = list(figure.subplots(1, len(_PANELS), sharey=True))
        for axes, (heading, label, measures) in zip(panels, _PANELS, strict=True):
            spacing = min(_SPACING, _MOST_SPREAD / (len(measures) - 1))
            for place, (name, short, colour) in enumerate(measures):
                rows = over_draws[over_draws["measure"] == name].set_index("control").loc[controls]
                _points(axes, rows, short, colour, spacing * (place - (len(measures) - 1) / 2))
            _rows(axes, len(controls))
            axes.set(title=heading, xlabel=label)
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
        figure.suptitle(title)
        if note:
            figure.supxlabel(note, fontsize=8, color="#555555")
    return figure


def _points(axes: Axes, rows: Frame, label: str, colour: str, shift: float) -> None:
    spread = np.nan_to_num(rows["std"].to_numpy(dtype=float))
    axes.errorbar(
        rows["mean"].to_numpy(dtype=float),
        np.arange(len(rows)) + shift,
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
