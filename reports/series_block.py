"""What there is to read of a series of checkpoints: which of them is most like ICL, beside its neighbours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..study.sheet import Block, Cell

if TYPE_CHECKING:
    from ..study.columns import Frame
    from ..study.study import Study

_UNDEFINED: Cell = ("–",)


def series_blocks(study: Study) -> tuple[Block, ...]:
    """Return the checkpoint that is most like ICL by each similarity; nothing where there is no series.

    Args:
        study: A study of comparisons.
    """
    series = study.tables["series"]
    similarities = series[series["unit"] == "cosine"]
    if similarities.empty:
        return ()
    several = similarities["shots"].nunique() > 1
    rows = tuple(
        (f"{measure}, {shots} shots" if several else str(measure), _cells(found))
        for (shots, measure), found in similarities.groupby(["shots", "measure"], sort=False)
    )
    columns = ("checkpoint", "cosine", "read against", "above the one before", "above the one after")
    return (Block("most like ICL", columns, rows),)


def series_notes(study: Study) -> tuple[str, ...]:
    """Return how to read them.

    Args:
        study: A study of comparisons.
    """
    if study.tables["series"].empty:
        return ()
    return (
        "most like ICL: the checkpoint with the largest similarity, beside what it is read against: its null (shared "
        "baseline; of partial, permuted pairs), or SimAM before finetuning. [low, high]: "
        f"{100 * study.config.level:g}% intervals, bootstrap over queries; a difference takes the same queries at "
        "both checkpoints, and where its interval holds 0 the two are not told apart. The interval of the largest is "
        "not corrected for its choice.",
    )


def _cells(found: Frame) -> tuple[Cell, ...]:
    best = found[found["most"]]
    if best.empty:
        return (("undefined",), *[_UNDEFINED] * 4)
    row = best.iloc[0]
    by_place = {each["place"]: each for each in found.to_dict("records")}
    before, after = (by_place.get(row["place"] + shift) for shift in (-1, 1))
    null = (f"{row['null']:.3f}",)
    return ((row["recipe"],), _cell(row, "value", "low", "high"), null, _behind(before), _behind(after))


def _behind(row: Any) -> Cell:
    return _UNDEFINED if row is None else _cell(row, "behind", "behind_low", "behind_high")


def _cell(row: Any, value: str, low: str, high: str) -> Cell:
    if math.isnan(row[value]):
        return ("undefined",)
    if math.isnan(row[low]):
        return (f"{row[value]:.3f}",)
    return (f"{row[value]:.3f}", f"[{row[low]:.3f}, {row[high]:.3f}]")
