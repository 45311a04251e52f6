"""What a study says, before it is laid out for a terminal or a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .study import Study

Cell = tuple[str, ...]
"""The parts of a cell: value, counts, interval; parts are aligned with those above and below."""

_MOST_ROWS = 20


@dataclass(frozen=True)
class Block:
    """Rows that share their columns.

    Attributes:
        corner: What the rows are.
        columns: Heading of each column.
        rows: Name and cells of each row.
    """

    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]

    def __post_init__(self) -> None:
        """Check that every row fills every column."""
        if any(len(cells) != len(self.columns) for _, cells in self.rows):
            raise ValueError(f"every row of {self.corner!r} needs {len(self.columns)} cells")


@dataclass(frozen=True)
class Sheet:
    """Everything that is read of a study.

    Attributes:
        alarms: What must be read before any number.
        facts: What was run, as name and value.
        warnings: What limits the numbers.
        blocks: The numbers.
        notes: How to read them.
    """

    alarms: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]


def sheet_of(study: Study, blocks: tuple[Block, ...], notes: tuple[str, ...] = ()) -> Sheet:
    """Return a sheet with the study's own alarms, facts and warnings around its numbers.

    Args:
        study: The study.
        blocks: Its numbers.
        notes: How to read them.
    """
    facts = study.tables.get("facts")
    return Sheet(
        alarms=tuple(finding.sentence for finding in study.findings if finding.kind == "alarm"),
        facts=() if facts is None else tuple(zip(facts["name"], facts["text"], strict=True)),
        warnings=tuple(finding.sentence for finding in study.findings if finding.kind == "warning"),
        blocks=blocks,
        notes=notes,
    )


def plain_sheet(study: Study) -> Sheet:
    """Return a sheet of the findings and the first rows of every table, for an analysis that lays out nothing."""
    found = tuple(finding.sentence for finding in study.findings if finding.kind == "result")
    blocks = tuple(_head(study, name) for name in study.tables if name != "facts")
    return sheet_of(study, blocks, found)


def _head(study: Study, name: str) -> Block:
    frame = study.tables[name]
    first, *others = [str(column) for column in frame.columns]
    rows = frame.head(_MOST_ROWS).astype(object).to_dict("records")
    more = (
        ()
        if len(frame) <= _MOST_ROWS
        else ((f"… {len(frame) - _MOST_ROWS} more", tuple(("",) for _ in others)),)
    )
    shown = tuple((_text(row[first]), tuple((_text(row[column]),) for column in others)) for row in rows)
    return Block(first, tuple(others), shown + more)


def _text(value: object) -> str:
    if value is None or value != value or str(value) == "<NA>":
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
