"""One comparison under several controls: the sheet, and the figure of accuracies, SimAOU and SimAM under each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import DELTA, DELTA_NULL, PARTIAL, null_name
from ..study.sheet import Sheet, sheet_of
from . import style
from .comparison_rows import row_alarms, row_blocks, row_notes, spread_note
from .figure_text import subject_title
from .intervals import draw_points, spread_words
from .panels import finish, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

# Title and axis of each panel, and the measures in it.
_PANELS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "accuracy, label set",
        "accuracy (%)",
        ("accuracy, zero-shot", "accuracy, ICL", "accuracy, finetuned"),
    ),
    (
        "attention output updates",
        "SimAOU (cosine)",
        (
            "SimAOU, null gaussian",
            "SimAOU, null permuted_pairs",
            "SimAOU, null shared_baseline",
            "SimAOU",
            PARTIAL,
        ),
    ),
    (
        "attention scores",
        "SimAM (cosine)",
        ("SimAM before finetuning", "SimAM after finetuning", DELTA_NULL, DELTA),
    ),
)
_SPACING = 0.2
# Room for all points of a row within it.
_MOST_SPREAD = 0.64
_ROW = 0.34


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


def controls_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw accuracies, SimAOU and SimAM with their nulls, one row a control.

    Args:
        study: A study of controls.
        width: In inches.
    """
    config, draws = study.config, len(study.config.seeds)
    shots = f"{config.shots} shot{'s' * (config.shots > 1)}"
    note = "one draw of demonstrations" if draws == 1 else f"mean over {draws} draws of demonstrations"
    title = f"{subject_title(config)}, {shots}"
    return measures_figure(study.tables["over_draws"], title=title, note=note, width=width)


def measures_figure(
    over_draws: Frame, *, title: str = "", note: str = "", width: float = style.TWO_COLUMNS
) -> Figure:
    """Draw accuracies, SimAOU with its nulls, and SimAM before and after finetuning, one row a control.

    Bars are one standard deviation over draws of demonstrations.

    Args:
        over_draws: One row a control and measure: ``mean``, ``std`` and ``draws``.
        title: What stands above.
        note: What stands below.
        width: In inches.
    """
    controls = list(dict.fromkeys(over_draws["control"]))
    with style.figure_style():
        made = panels(width, len(_PANELS), height=0.7 + _ROW * len(controls), sharey=True)
        for axes, (_, label, measures) in zip(made.axes, _PANELS, strict=True):
            spacing = min(_SPACING, _MOST_SPREAD / (len(measures) - 1))
            for place, name in enumerate(measures):
                rows = over_draws[over_draws["measure"] == name].set_index("control").loc[controls]
                _points(axes, rows, name, spacing * (place - (len(measures) - 1) / 2))
            _rows(axes, len(controls))
            axes.set(xlabel=label)
        made.axes[0].set_yticks(range(len(controls)), [control_title(control) for control in controls])
        made.title([heading for heading, *_ in _PANELS])
        intervals = spread_words(int(over_draws["draws"].max()))
        finish(made.figure, title=title, notes=[note], intervals=intervals)
    return made.figure


def _points(axes: Axes, rows: Frame, name: str, shift: float) -> None:
    measure, _, null = name.partition(", null ")
    setting = measure.removeprefix("accuracy, ")
    colour = (
        style.NULL_COLOURS[null]
        if null
        else style.MEASURE_COLOURS.get(measure) or style.NAMED_COLOURS[setting]
    )
    draw_points(
        axes,
        np.arange(len(rows)) + shift,
        rows["mean"],
        rows["std"],
        colour,
        across=True,
        label=null_name(null) if null else "SimAM of the changes" if measure == DELTA else setting,
        markersize=3.6,
        **({"markerfacecolor": "white"} if null else {}),
    )


def _rows(axes: Axes, count: int) -> None:
    """Give every other row a ground, so that points are read along their row."""
    for row in range(0, count, 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", zorder=0)
    axes.set_ylim(count - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.tick_params(axis="y", length=0)
