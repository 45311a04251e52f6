"""Putting the cells of a sweep together."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ...errors import UserError, shown
from ...study.finding import FINDINGS, Finding
from ...study.loading import read_manifest
from ...study.sweep_folder import SweepCell, SweepFolder, read_sweep
from ...study.table_files import read_table
from ..context import Context, Measured
from .config import GatherConfig
from .origins import origin_warnings
from .paired import mean_over_draws, paired_p
from .tables import done_cells, write_kinds

_KINDS = "kinds"
_MOST_RESULTS = 100


@dataclass(frozen=True)
class _Axes:
    """The axes of a sweep.

    Attributes:
        points: What each axis's points are called, in their order.
        draws: The axis of the draws.
    """

    points: Mapping[str, tuple[str, ...]]
    draws: str

    def group(self, cell: SweepCell, without: str = "") -> str:
        """Return where a cell stands on the axes that differ, but for the draws and one more."""
        return ", ".join(
            f"{axis} {cell.axes[axis]}"
            for axis, points in self.points.items()
            if len(points) > 1 and axis not in (self.draws, without)
        )


def measure_gather(config: GatherConfig, context: Context) -> Measured:
    """Put the cells of a sweep together; nothing is run.

    Args:
        config: Which sweep.
        context: The run directory, in which the cells' tables are written as one of each kind.

    Raises:
        UserError: If there is no sweep, none of its cells is done, or one cannot be read.
    """
    folder = read_sweep(config.sweep)
    if any(cell.analysis != folder.analysis for cell in folder.cells):
        raise UserError(f"{shown(config.sweep)} holds experiments of papers: see its index.txt and claims")
    cells = done_cells(folder)
    if not cells:
        raise UserError(f"no cell of {shown(config.sweep)} is done: run iclprobe sweep first")
    axes = _Axes(
        {
            axis: tuple(dict.fromkeys(str(cell.axes[axis]) for cell in folder.cells))
            for axis in folder.cells[0].axes
        },
        config.draws,
    )
    found = [(cell, row) for cell in cells for row in _measures(folder, cell, axes)]
    measures = [row for _, row in found]
    if context.folder is not None:
        write_kinds(folder, cells, context.folder / _KINDS)
    states = folder.states()
    rows = list(_cell_rows(folder, states))
    summary = list(_summary(measures, config.level))
    paired = list(_paired(found, axes, config.level))
    return Measured(
        config,
        {
            "summary": summary,
            "paired": paired,
            "measures": measures,
            "cells": rows,
            "axes": [
                {
                    "cell": cell.id,
                    "axis": axis,
                    "value": str(value),
                    "place": axes.points[axis].index(str(value)),
                }
                for cell in folder.cells
                for axis, value in cell.axes.items()
            ],
            "facts": [{"name": name, "text": text} for name, text in _facts(folder, axes, states).items()],
        },
        (
            *_findings(folder, states, axes),
            *origin_warnings(folder, cells),
            *_results(summary, config.level),
        ),
        provenance={"sweep_of": folder.analysis, "cells": sorted({cell.id for cell in cells})},
    )


def _measures(folder: SweepFolder, cell: SweepCell, axes: _Axes) -> Iterator[dict[str, Any]]:
    """Yield what a cell found; what is the same in all its findings says nothing beside its axes."""
    found = read_table(folder.run_directory(cell.id), FINDINGS)
    rows: list[dict[str, Any]] = [
        {**row, "where": json.loads(row["where"])}
        for row in found.to_dict("records")
        if row["kind"] == "result" and math.isfinite(row["value"])
    ]
    values: dict[str, set[str]] = {}
    for row in rows:
        for key, value in row["where"].items():
            values.setdefault(key, set()).add(str(value))
    told = {key for key, several in values.items() if len(several) > 1}
    for row in rows:
        where = ", ".join(f"{key} {value}" for key, value in row["where"].items() if key in told)
        yield {
            "cell": cell.id,
            "group": axes.group(cell),
            "draw": str(cell.axes.get(axes.draws, "")),
            "measure": f"{row['name']}, {where}" if where else row["name"],
            **{name: row[name] for name in ("value", "low", "high", "null", "unit")},
        }


def _summary(measures: Sequence[Mapping[str, Any]], level: float) -> Iterator[dict[str, Any]]:
    for (group, measure), rows in _by(measures, "group", "measure").items():
        over = mean_over_draws([row["value"] for row in rows], level)
        nulls = [row["null"] for row in rows if math.isfinite(row["null"])]
        yield {
            "group": group,
            "measure": measure,
            "draws": over.draws,
            "mean": over.mean,
            "std": over.std,
            "low": over.low,
            "high": over.high,
            "null": sum(nulls) / len(nulls) if nulls else math.nan,
            "unit": rows[0]["unit"],
        }


def _results(summary: Sequence[Mapping[str, Any]], level: float) -> Iterator[Finding]:
    """Yield the means of what has a null, or of everything where nothing has; of very many the first."""
    chosen = [row for row in summary if math.isfinite(row["null"])] or list(summary)
    for row in chosen[:_MOST_RESULTS]:
        unit = "" if row["unit"] in ("", "cosine") else f" {row['unit']}"
        at = f" at {row['group']}" if row["group"] else ""
        several = row["draws"] > 1
        spread = f" ± {row['std']:.3g} over {row['draws']} draws" if several else " in one draw"
        yield Finding(
            row["measure"],
            f"{row['measure']}: {row['mean']:.3g}{unit}{spread}{at}",
            value=row["mean"],
            low=row["low"],
            high=row["high"],
            null=row["null"],
            unit=row["unit"],
            basis=f"Student's {level:.0%} interval over {row['draws']} draws" if several else "",
            where={"group": row["group"]} if row["group"] else {},
        )


def _paired(
    found: Sequence[tuple[SweepCell, Mapping[str, Any]]], axes: _Axes, level: float
) -> Iterator[dict[str, Any]]:
    """Yield every two points of every axis, all else equal, where two draws or more have both."""
    if len(axes.points.get(axes.draws, ())) < 2:
        return
    for axis, points in axes.points.items():
        if len(points) < 2 or axis == axes.draws:
            continue
        placed = [
            {**row, "point": str(cell.axes[axis]), "at": axes.group(cell, without=axis)}
            for cell, row in found
        ]
        for (at, measure), rows in _by(placed, "at", "measure").items():
            by_point = {
                point: {row["draw"]: row["value"] for row in rows if row["point"] == point}
                for point in points
            }
            for one, other in combinations(points, 2):
                draws = [draw for draw in by_point[one] if draw in by_point[other]]
                if len(draws) < 2:
                    continue
                differences = [by_point[other][draw] - by_point[one][draw] for draw in draws]
                over = mean_over_draws(differences, level)
                yield {
                    "axis": axis,
                    "one": one,
                    "other": other,
                    "at": at,
                    "measure": measure,
                    "draws": over.draws,
                    "difference": over.mean,
                    "std": over.std,
                    "low": over.low,
                    "high": over.high,
                    "p": paired_p(differences),
                    "unit": rows[0]["unit"],
                }


def _by(rows: Sequence[Mapping[str, Any]], *names: str) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return found


def _cell_rows(folder: SweepFolder, states: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for cell, state in states.items():
        failure = folder.failure(cell) if state == "failed" else None
        seconds = (
            read_manifest(folder.run_directory(cell))["provenance"].get("seconds")
            if state == "done"
            else None
        )
        yield {
            "cell": cell,
            "state": state,
            "seconds": math.nan if seconds is None else float(seconds),
            "error": "" if failure is None else failure.sentence,
        }


def _facts(folder: SweepFolder, axes: _Axes, states: Mapping[str, str]) -> dict[str, str]:
    counts = {state: list(states.values()).count(state) for state in ("done", "failed", "running", "missing")}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    facts = {"sweep": str(folder.path), "analysis": folder.analysis, "cells": f"{len(states)}: {told}"}
    for axis, points in axes.points.items():
        facts[axis] = ", ".join(points)
    return facts


def _findings(folder: SweepFolder, states: Mapping[str, str], axes: _Axes) -> Iterator[Finding]:
    failed = [cell for cell, state in states.items() if state == "failed"]
    if failed:
        first = folder.failure(failed[0])
        why = "" if first is None else f" ({first.sentence})"
        yield Finding(
            "failed cells",
            f"{len(failed)} of {len(states)} cells failed and are in no mean{why}",
            "alarm",
            value=len(failed),
        )
    left = sum(state in ("missing", "running") for state in states.values())
    if left:
        yield Finding(
            "missing cells",
            f"{left} of {len(states)} cells are not computed yet and are in no mean",
            "warning",
            value=left,
        )
    if len(axes.points.get(axes.draws, ())) < 2:
        yield Finding(
            "one draw",
            f"no axis {axes.draws} has several points: there are no deviations and no paired comparisons",
            "warning",
        )
