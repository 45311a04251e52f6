"""The analysis that puts a sweep together: what it makes, and how it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...study.analysis import Analysis, register
from ...study.columns import Column, Table
from .config import GatherConfig

if TYPE_CHECKING:
    from ...study.study import Study

_CELL = Column("cell", "text", "the cell's id, which names its run directory")
_MEASURE = Column("measure", "text", "what was found, in the words of the cells' findings")
_UNIT = Column("unit", "text", "what the numbers are in")
_GROUP = Column("group", "text", "where it stands on the axes that differ, but for the draws")
_DRAWS = Column("draws", "integer", "over how many draws")

CELLS = Table(
    "cells",
    "one cell of the sweep",
    (
        _CELL,
        Column("state", "text", "done, failed, running or missing"),
        Column("seconds", "number", "how long it took", "s"),
        Column("error", "text", "why it failed; empty where it did not"),
    ),
)
AXES = Table(
    "axes",
    "where one cell stands on one axis",
    (
        _CELL,
        Column("axis", "text", "the axis"),
        Column("value", "text", "the cell's point on it"),
        Column("place", "integer", "the point's place on the axis, counted from 0"),
    ),
)
MEASURES = Table(
    "measures",
    "one number that one cell found",
    (
        _CELL,
        _GROUP,
        Column("draw", "text", "the cell's draw"),
        _MEASURE,
        Column("value", "number", "the number", "as in unit"),
        Column("low", "number", "lower end of the cell's own interval", "as in unit"),
        Column("high", "number", "upper end", "as in unit"),
        Column("null", "number", "the number if there were nothing to find", "as in unit"),
        _UNIT,
    ),
)
SUMMARY = Table(
    "summary",
    "one measure of one group of cells, over its draws",
    (
        _GROUP,
        _MEASURE,
        _DRAWS,
        Column("mean", "number", "mean over draws", "as in unit"),
        Column(
            "std", "number", "standard deviation over draws (ddof 1); missing of a single one", "as in unit"
        ),
        Column("low", "number", "lower end of Student's interval of the mean", "as in unit"),
        Column("high", "number", "upper end", "as in unit"),
        Column("null", "number", "mean over draws of the number if there were nothing to find", "as in unit"),
        _UNIT,
    ),
)
PAIRED = Table(
    "paired",
    "one measure at two points of an axis, all else equal, paired by draws",
    (
        Column("axis", "text", "the axis"),
        Column("one", "text", "a point on it"),
        Column("other", "text", "another one"),
        Column("at", "text", "where both stand on the other axes"),
        _MEASURE,
        _DRAWS,
        Column("difference", "number", "mean over draws of the other's number less the one's", "as in unit"),
        Column("std", "number", "standard deviation of the differences (ddof 1)", "as in unit"),
        Column("low", "number", "lower end of Student's interval of the mean difference", "as in unit"),
        Column("high", "number", "upper end", "as in unit"),
        Column(
            "p",
            "number",
            "two-sided, of the permutation test that swaps the two of a pair; missing where so few draws could give "
            "no p below 0.05",
        ),
        _UNIT,
    ),
)

GATHER = register(
    Analysis(
        name="gather",
        summary="Put the cells of a sweep together: tables along its axes, means and comparisons over draws.",
        config=GatherConfig,
        measure=f"{__package__}.measurement:measure_gather",
        tables=(SUMMARY, PAIRED, MEASURES, CELLS, AXES),
        figures={
            "measures": "iclprobe.reports.gathered:measures_figure",
            "paired": "iclprobe.reports.gathered:paired_figure",
        },
        sheet="iclprobe.reports.gathered:gathered_sheet",
        needs="nothing",
        in_memory=(),
    )
)


def gather(sweep: str | Path, *, config: GatherConfig | None = None, **options: Any) -> Study:
    """Put the cells of a sweep together: tables along its axes, means and comparisons over draws.

    Nothing is run, and cells that are not done yet are left out and counted. In a run directory ``kinds/`` holds
    every table of the cells as one, with the axes as columns (see `gathered_tables`).

    Args:
        sweep: The sweep's folder.
        config: Which axis is the draws; or give its fields as keywords.
        options: Fields of `GatherConfig`, and ``out``, ``overwrite`` and ``page`` of `run_analysis`.

    Raises:
        UserError: If there is no sweep, none of its cells is done, or one cannot be read.
    """
    from ..runner import run_analysis

    return run_analysis(GATHER, config, sweep=str(sweep), **options)
