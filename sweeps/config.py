"""What a sweep is: one analysis, what all its cells have in common, and the axes along which they differ."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from ..errors import shown
from ..settings import Settings

Points = list[Any] | dict[str, dict[str, Any]]
"""Values of the field that the axis is named after; or, by what they are called, several fields each."""


class Resources(Settings):
    """What one cell takes of a machine; a cluster gives it no less.

    Attributes:
        cpus: Cores.
        gpus: GPUs; a part of one lets cells share it.
        memory_gb: Main memory.
    """

    cpus: float = Field(default=1, gt=0, le=10_000)
    gpus: float = Field(default=0, ge=0, le=1000)
    memory_gb: float | None = Field(default=None, gt=0, le=1_000_000)


class SweepConfig(Settings):
    """A grid of cells of one analysis.

    Attributes:
        analysis: Which; any that is registered.
        fixed: Fields of its configuration that all cells share.
        axes: What differs, by the name of the axis: a list of values of the field of that name, or a mapping from
            what a point is called to the fields that it sets. The last axis varies fastest.
        exclude: Cells to leave out: those at these values of some axes.
        resources: What one cell takes of a machine.
    """

    analysis: str
    fixed: dict[str, Any] = Field(default={}, max_length=1000)
    axes: dict[str, Annotated[Points, Field(min_length=1, max_length=100_000)]] = Field(
        default={}, max_length=100
    )
    exclude: tuple[dict[str, Any], ...] = Field(default=(), max_length=10_000)
    resources: Resources = Resources()

    @field_validator("axes")
    @classmethod
    def _names_of_files(cls, axes: dict[str, Points]) -> dict[str, Points]:
        taken = {"cell", "state"} & set(axes)
        if taken:
            raise ValueError(
                f"{shown(taken.pop())} is a column of every table of a sweep: call the axis otherwise"
            )
        return axes
