"""The cells of a sweep: every combination of its axes' points, with the configuration that it asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from ..analyses.public_settings import without_secrets
from ..analyses.runner import resolve
from ..errors import UserError, reason_of, shown
from ..settings import Settings
from ..study.analysis import Analysis, find_analysis
from ..study.sweep_folder import AxisValue
from ..tasks.given_records import GivenRecords
from .config import Points, SweepConfig

_MOST_CELLS = 100_000


@dataclass(frozen=True)
class GridCell:
    """One combination.

    Attributes:
        axes: What each axis's point is called.
        config: The configuration.
    """

    axes: Mapping[str, AxisValue]
    config: Settings


def grid_cells(sweep: SweepConfig) -> list[GridCell]:
    """Return every cell that is not excluded, the last axis varying fastest.

    Raises:
        UserError: If the analysis is unknown, an axis names a point twice, a field is set twice, unknown or
            impossible, or nothing is left.
    """
    analysis = find_analysis(sweep.analysis)
    axes = {name: _points(name, points) for name, points in sweep.axes.items()}
    if math.prod(map(len, axes.values())) > _MOST_CELLS:
        raise UserError(f"the axes make more than {_MOST_CELLS:,} cells: make several sweeps of them")
    _check_excluded(sweep, axes)
    cells = list(_cells(sweep, analysis, axes))
    if not cells:
        raise UserError("every cell of the sweep is excluded: leave something out of exclude")
    return cells


def _cells(
    sweep: SweepConfig, analysis: Analysis, axes: Mapping[str, Mapping[AxisValue, Mapping[str, Any]]]
) -> Iterator[GridCell]:
    for combination in product(*axes.values()):
        named = dict(zip(axes, combination, strict=True))
        if any(_is_at(named, excluded) for excluded in sweep.exclude):
            continue
        values = dict(sweep.fixed)
        setters = dict.fromkeys(sweep.fixed, "fixed")
        for axis, point in named.items():
            for field, value in axes[axis][point].items():
                if field in setters:
                    raise UserError(
                        f"{shown(field)} is set by {setters[field]} and by the axis {shown(axis)}: keep one of them"
                    )
                setters[field] = f"the axis {shown(axis)}"
                values[field] = value
        yield GridCell(named, _resolved(analysis, values, named))


def _resolved(analysis: Analysis, values: dict[str, Any], named: Mapping[str, AxisValue]) -> Settings:
    try:
        config = resolve(analysis, None, values)
    except UserError as error:
        where = _cut(", ".join(f"{axis} {value}" for axis, value in named.items()))
        raise UserError(f"the cell at {where}: {reason_of(error, 180)}" if where else str(error)) from error
    if isinstance(getattr(config, "data", None), GivenRecords):
        raise UserError(
            "the records are in memory, where no other process finds them: write them into a file"
        )
    if without_secrets(config) != config:
        raise UserError(
            "an address in the sweep holds a secret, which its plan would write down: give it by the environment"
        )
    return config


def _points(axis: str, points: Points) -> dict[AxisValue, Mapping[str, Any]]:
    """Return the fields that each point sets, by what it is called."""
    if isinstance(points, dict):
        return {**points}
    named: dict[AxisValue, Mapping[str, Any]] = {}
    # Tables show them as texts.
    taken: set[str] = set()
    for number, value in enumerate(points):
        name = _name(value, number)
        if name in named or str(name) in taken:
            raise UserError(f"the axis {shown(axis)} holds {shown(name)} twice: name it once")
        named[name] = {axis: value}
        taken.add(str(name))
    return named


def _name(value: Any, number: int) -> AxisValue:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return value["name"]
    if isinstance(value, list | tuple) and all(isinstance(entry, str | int | float) for entry in value):
        return ", ".join(map(str, value))
    return f"number {number + 1}"


def _check_excluded(sweep: SweepConfig, axes: Mapping[str, Mapping[AxisValue, Mapping[str, Any]]]) -> None:
    for excluded in sweep.exclude:
        for axis, value in excluded.items():
            if axis not in axes:
                there = f"there are {_cut(', '.join(axes))}" if axes else "there is none"
                raise UserError(f"exclude names {shown(axis)}, which is no axis: {there}")
            for point in _several(value):
                # A list or a mapping is no key.
                if not any(point == known for known in axes[axis]):
                    there = _cut(", ".join(map(str, axes[axis])))
                    raise UserError(
                        f"exclude names {_cut(axis, 60)} {shown(point)}, where are {there}: name one of them"
                    )


def _is_at(named: Mapping[str, AxisValue], excluded: Mapping[str, Any]) -> bool:
    return bool(excluded) and all(named[axis] in _several(value) for axis, value in excluded.items())


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _cut(text: str, longest: int = 90) -> str:
    """Return a text no longer than fits into a sentence."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
