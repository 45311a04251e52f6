"""Several comparisons below each other, from the rows of their tables, in the blocks that all such tables share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..study.names import DELTA, PARTIAL
from ..study.sheet import Block, Cell
from .comparison_rows import _BLOCKS, _NOTES

if TYPE_CHECKING:
    from ..study.columns import Frame
    from ..study.finding import Finding

# What is said once of all comparisons in which an alarm sounds.
_SEVERAL = {
    "no prediction changed by finetuning": "finetuning changed no prediction, so the overlap of changes says nothing "
    "about it",
    "ICL not better than zero-shot": "ICL is not better than zero-shot, so there is no learning in context to "
    "compare finetuning with",
    "training loss rose": "the training loss rose, so finetuning did not learn the demonstrations",
}
_COUNTED = {"SimAOU": "queries", PARTIAL: "queries", DELTA: "queries × heads"}


def row_blocks(rows: Mapping[str, Frame], draws: int) -> tuple[Block, ...]:
    """Return the measures of several comparisons, one row each.

    Args:
        rows: Every measure of each comparison over its draws, by the comparison's name.
        draws: How many draws of demonstrations each has.
    """
    cells = {
        row: {each.measure: _spread_cell(each, draws) for each in measures.itertuples()}
        for row, measures in rows.items()
    }
    return tuple(
        Block(
            corner,
            tuple(columns),
            tuple((row, tuple(found[name] for name in columns.values())) for row, found in cells.items()),
        )
        for corner, columns in _BLOCKS
    )


def _spread_cell(row: Any, draws: int) -> Cell:
    digits = 1 if row.unit == "%" else 3
    if math.isnan(row.mean):
        return ("undefined (0/0)" if row.unit == "%" else "undefined",)
    spread = "" if math.isnan(row.std) else f"± {row.std:.{digits}f}"
    fewer = "" if row.draws == draws else f"({row.draws} of {draws} draws)"
    return (f"{row.mean:.{digits}f}", spread, fewer)


def row_alarms(
    findings: Iterable[Finding], row_of: Callable[[Mapping[str, Any]], str], draws: int
) -> tuple[str, ...]:
    """Return what must be read before any number, each once with the comparisons and draws that it holds in.

    Args:
        findings: What was found.
        row_of: What a row is called, by where something was found.
        draws: How many draws of demonstrations each comparison has.
    """
    said: dict[str, dict[str, list[str]]] = {}
    for finding in findings:
        if finding.kind == "alarm":
            rows = said.setdefault(_SEVERAL.get(finding.name, finding.sentence), {})
            rows.setdefault(row_of(finding.where), []).append(str(finding.where.get("seed", "")))
    return tuple(f"{what}, in: {'; '.join(_rows(rows, draws))}" for what, rows in said.items())


def _rows(rows: Mapping[str, list[str]], draws: int) -> list[str]:
    return [
        row if len(seeds) == draws else f"{row} (seed{'s' * (len(seeds) > 1)} {', '.join(seeds)})"
        for row, seeds in rows.items()
    ]


def row_notes(layers: Frame) -> tuple[str, ...]:
    """Return how to read the numbers, and which of them are undefined.

    Args:
        layers: One row a comparison, draw, layer and measure.
    """
    undefined = {
        name: _where(layers[layers["measure"] == name], counted) for name, counted in _COUNTED.items()
    }
    return (
        *_NOTES,
        *(
            f"{name} is undefined {where}, where ICL or finetuning changed no more than rounding does: that has no "
            "direction, and the mean leaves it out."
            for name, where in undefined.items()
            if where
        ),
    )


def _where(rows: Frame, what: str) -> str:
    """Say in how many layers there is no value, and how many are missing in the others."""
    names = list(rows.columns)
    no_value = rows["defined"] == 0
    whole = no_value.groupby([rows[name] for name in names[: names.index("layer")]], sort=False).sum()
    others = rows[~no_value]
    left, of = int((others["of"] - others["defined"]).sum()), int(others["of"].sum())
    parts = []
    if whole.any():
        low, high = int(whole.min()), int(whole.max())
        count = str(low) if low == high else f"{low} to {high}"
        parts.append(f"in {count} of {rows['layer'].nunique()} layers")
    if left:
        parts.append(f"for {left:,} of {of:,} {what}{' in the others' if parts else ' × layers'}")
    return " and ".join(parts)


def spread_note(draws: int) -> str:
    """Say what stands behind the numbers."""
    if draws == 1:
        return "one draw of demonstrations, so there is no spread over draws."
    return f"mean ± standard deviation over {draws} draws of demonstrations."
