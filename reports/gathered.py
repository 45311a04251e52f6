"""The cells of a sweep put together, as a sheet and as figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.sheet import Block, Cell, Sheet, sheet_of
from . import style
from .figure_text import short_name
from .intervals import NULL_LINE, draw_points
from .numbers import number
from .panels import finish, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_ROW, _PAIR_ROW, _AROUND = 0.17, 0.29, 0.75
"""Inches of a group's row, of a pair's, and of what stands above and below the rows of a panel."""
_MOST_PANELS, _MOST_GROUPS, _MOST_ROWS = 8, 40, 60
_MEASURES_A_BLOCK = 4
_INTERVAL = "{level:.0%} interval over draws"
_LONGEST, _LONGEST_OF_ONE_COLUMN = 46, 20
_NOTES = (
    "mean ± standard deviation over draws; summary.csv has Student's intervals, and measures.csv every cell.",
    "paired: the other point less the one, draw by draw, all else equal; p of the permutation test that swaps the "
    "two of a pair, none where so few draws could give no p below 0.05. Of many, some are small by chance.",
)


def headline_measures(study: Study, most: int = _MOST_PANELS) -> list[str]:
    """Return the measures that a sweep is looked at by: first those with a null, then others as they were found.

    Args:
        study: The sweep, put together.
        most: How many at most.
    """
    summary = study.tables["summary"]
    names = [str(name) for name in dict.fromkeys(summary["measure"]) if ", null " not in str(name)]
    with_null = set(summary.loc[summary["null"].notna(), "measure"])
    return sorted(names, key=lambda name: name not in with_null)[:most]


def gathered_sheet(study: Study) -> Sheet:
    """Return means over draws, group by group, and the comparisons of what has a null.

    Args:
        study: The sweep, put together.
    """
    summary = study.tables["summary"]
    names = headline_measures(study, most=2 * _MEASURES_A_BLOCK)
    groups = [str(group) for group in dict.fromkeys(summary["group"])]
    cells = {(str(row.group), str(row.measure)): _mean(row) for row in summary.itertuples(index=False)}
    blocks = []
    for start in range(0, len(names), _MEASURES_A_BLOCK):
        columns = tuple(names[start : start + _MEASURES_A_BLOCK])
        rows = tuple(
            (group or "all cells", tuple(cells.get((group, name), ("-",)) for name in columns))
            for group in groups[:_MOST_GROUPS]
        )
        blocks.append(Block("group", columns, rows + _more(len(groups) - _MOST_GROUPS, len(columns))))
    paired = _shown_pairs(study, names)
    if len(paired):
        rows = tuple(
            (
                f"{row.axis}: {row.other} less {row.one}",
                ((str(row.at),), (str(row.measure),), _difference(row), (_p(row.p),)),
            )
            for row in paired.head(_MOST_ROWS).itertuples(index=False)
        )
        columns = ("at", "measure", "difference", "p")
        blocks.append(Block("paired", columns, rows + _more(len(paired) - _MOST_ROWS, len(columns))))
    return sheet_of(study, tuple(blocks), _NOTES)


def _shown_pairs(study: Study, names: list[str]) -> Frame:
    paired = study.tables["paired"]
    with_null = set(study.tables["summary"].loc[study.tables["summary"]["null"].notna(), "measure"])
    chosen = [name for name in names if name in with_null] or names[:1]
    return paired[paired["measure"].isin(chosen)]


def _more(count: int, columns: int) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    return ((f"… {count} more", tuple(("",) for _ in range(columns))),) if count > 0 else ()


def _mean(row: Any) -> Cell:
    unit = f" {row.unit}" if row.unit and row.unit != "cosine" else ""
    if row.draws < 2:
        return (f"{number(row.mean)}{unit}",)
    return f"{number(row.mean)} ± {number(row.std)}{unit}", f"({row.draws})"


def _difference(row: Any) -> Cell:
    unit = f" {row.unit}" if row.unit and row.unit != "cosine" else ""
    return f"{number(row.difference)}{unit}", f"[{row.low:.3g}, {row.high:.3g}]"


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def measures_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw each measure over the groups of cells: every draw, the mean with its interval, and the mean null.

    Args:
        study: The sweep, put together.
        width: In inches.
    """
    summary, measures = study.tables["summary"], study.tables["measures"]
    names = headline_measures(study)
    groups = [str(group) for group in dict.fromkeys(summary["group"])][:_MOST_GROUPS]
    places = {group: place for place, group in enumerate(groups)}
    with style.figure_style():
        count, height = max(1, len(names)), _ROW * max(1, len(groups)) + _AROUND
        made = panels(width, count, height=height, least=1.7, most=3, sharey=True)
        for axes, name in zip(made.axes, names, strict=False):
            every = measures[(measures["measure"] == name) & measures["group"].isin(groups)]
            mean = summary[(summary["measure"] == name) & summary["group"].isin(groups)]
            axes.plot(
                every["value"],
                [places[group] for group in every["group"]],
                marker="o",
                markersize=2.2,
                linestyle="none",
                color=style.UNREMARKABLE,
                alpha=0.5,
                label="one draw",
            )
            at = np.array([places[group] for group in mean["group"]])
            half = (mean["high"] - mean["low"]).to_numpy(float) / 2
            draw_points(
                axes, at, mean["mean"], half, style.MEASURE_COLOURS["SimAOU"], across=True, label="mean"
            )
            if mean["null"].notna().any():
                axes.plot(
                    mean["null"],
                    at,
                    marker="|",
                    markersize=7,
                    linestyle="none",
                    color=style.INK,
                    label="null",
                )
            unit = str(mean["unit"].iloc[0])
            axes.set_xlabel(unit)
            axes.grid(True, axis="x")
        if not names:
            made.axes[0].set_xlabel("nothing")
        for axes in made.left:
            axes.set_yticks(range(len(groups)), [_short(_points(study, group), width) for group in groups])
            axes.set_ylabel(_axes_of(study) or "group")
        made.axes[0].set_ylim(max(1, len(groups)) - 0.5, -0.5)
        if names:
            made.title(names, beside=50)
        left_out = study.tables["summary"]["group"].nunique() - len(groups)
        finish(
            made.figure,
            title=f"{_sweep(study)}: {len(groups)} groups of cells",
            intervals=_INTERVAL.format(level=study.config.level) if len(summary) else "",
            notes=[
                *([f"{left_out} more groups are in summary.csv"] if left_out > 0 else []),
                *([] if names else ["the cells found no number"]),
            ],
        )
        return made.figure


def paired_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the paired differences of the first measure that has a null, of every two points of every axis.

    Args:
        study: The sweep, put together.
        width: In inches.
    """
    names = headline_measures(study)
    shown = _shown_pairs(study, names)
    measures = [name for name in names if name in set(shown["measure"])][:2]
    pairs = list(dict.fromkeys(map(_pair, shown.itertuples(index=False))))[:_MOST_GROUPS]
    places = {pair: place for place, pair in enumerate(pairs)}
    with style.figure_style():
        made = panels(
            width,
            max(1, len(measures)),
            height=_PAIR_ROW * max(1, len(pairs)) + _AROUND,
            least=2.2,
            most=2,
            sharey=True,
        )
        for axes, name in zip(made.axes, measures, strict=False):
            rows = [
                row for row in shown[shown["measure"] == name].itertuples(index=False) if _pair(row) in places
            ]
            axes.axvline(0, color=style.INK, linewidth=0.8, linestyle=NULL_LINE, label="no difference")
            draw_points(
                axes,
                [places[_pair(row)] for row in rows],
                [row.difference for row in rows],
                [(row.high - row.low) / 2 for row in rows],
                style.MEASURE_COLOURS["SimAOU"],
                across=True,
                label="mean difference",
            )
            axes.set_xlabel(f"difference ({rows[0].unit})" if rows and rows[0].unit else "difference")
            axes.grid(True, axis="x")
        if not measures:
            made.axes[0].set_xlabel("difference")
        for axes in made.left:
            axes.set_yticks(range(len(pairs)), [_pair_name(pair, width) for pair in pairs])
            axes.set_ylabel("pair")
        made.axes[0].set_ylim(max(1, len(pairs)) - 0.5, -0.5)
        if measures:
            made.title(measures)
        notes = [] if measures else ["no two points of an axis have two draws in common"]
        finish(
            made.figure,
            title=f"{_sweep(study)}: differences along the axes, paired by draws",
            intervals=_INTERVAL.format(level=study.config.level) if measures else "",
            notes=notes,
        )
        return made.figure


def _pair(row: Any) -> tuple[str, str]:
    """Return what tells a pair of points from others."""
    return f"{row.axis}: {row.other} less {row.one}", str(row.at)


def _pair_name(pair: tuple[str, str], width: float) -> str:
    return "\n".join(_short(part, width) for part in pair if part)


def _short(name: str, width: float) -> str:
    return short_name(name, _LONGEST if width >= style.TWO_COLUMNS else _LONGEST_OF_ONE_COLUMN)


def _sweep(study: Study) -> str:
    """Return what figures call the sweep: its folder's own name."""
    return Path(study.config.sweep).name or "sweep"


def _axes_of(study: Study) -> str:
    """Return the axes that tell groups apart, as a label of those points."""
    axes = [str(axis) for axis in dict.fromkeys(study.tables["axes"]["axis"]) if axis != study.config.draws]
    group = str(next(iter(study.tables["summary"]["group"]), ""))
    return short_name(", ".join(axis for axis in axes if f"{axis} " in group), _LONGEST)


def _points(study: Study, group: str) -> str:
    """Return where a group stands, without the names of the axes, which an axis of the figure says."""
    axes = [f"{axis} " for axis in dict.fromkeys(study.tables["axes"]["axis"])]
    parts = group.split(", ")
    told = [next((part.removeprefix(axis) for axis in axes if part.startswith(axis)), part) for part in parts]
    return ", ".join(told) or "all cells"
