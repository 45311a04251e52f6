"""What a table holds: its columns, each declared once with its kind, unit, meaning and source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pandas import DataFrame

Frame = Any
"""A pandas DataFrame, whose own types do not know what most of its operations give."""
Kind = Literal["text", "integer", "number", "truth"]

# Each holds a missing value beside every other: texts "NA" and "", integers with gaps, infinite numbers.
_DTYPES: Mapping[Kind, str] = {"text": "str", "integer": "Int64", "number": "float64", "truth": "boolean"}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: What it is called.
        kind: ``text``, ``integer``, ``number`` (float64, NaN where undefined) or ``truth``.
        meaning: What it holds, in one sentence's part.
        unit: Of numbers: ``%``, ``cosine``, ``nats``; empty where there is none.
        source: The paper, section or equation, where it has one.
    """

    name: str
    kind: Kind
    meaning: str
    unit: str = ""
    source: str = ""


@dataclass(frozen=True)
class Table:
    """One tidy table of an analysis.

    Attributes:
        name: What it is called, which also names its files.
        meaning: What one row is.
        columns: In order; those that tell rows apart come first.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]

    def frame(self, rows: Any) -> DataFrame:
        """Return rows, or columns by their names, as a data frame of the declared columns and kinds.

        Args:
            rows: A data frame, one mapping a row, or one sequence (or one value) a column.

        Raises:
            ValueError: If a column is missing, not declared, or holds what is not of its kind.
        """
        import pandas

        names = [column.name for column in self.columns]
        if isinstance(rows, pandas.DataFrame | Mapping):
            given = pandas.DataFrame(rows)
        else:
            rows = list(rows)
            given = pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=pandas.Index(names))
        if set(given.columns) != set(names):
            missing = ", ".join(name for name in names if name not in given.columns)
            unknown = ", ".join(str(name) for name in given.columns if name not in names)
            raise ValueError(
                f"table {self.name!r} lacks columns [{missing}] and has unknown ones [{unknown}]"
            )
        made = {column.name: _of_kind(given[column.name], column, self.name) for column in self.columns}
        return pandas.DataFrame(made).reset_index(drop=True)


def _of_kind(values: Any, column: Column, table: str) -> Any:
    """Return a column as its declared kind; a text is never made of what is none."""
    if column.kind == "text" and not all(
        isinstance(value, str) or value != value or value is None for value in values
    ):
        raise ValueError(f"column {column.name!r} of table {table!r} is text, and holds something else")
    try:
        return values.astype(_DTYPES[column.kind])
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {column.name!r} of table {table!r} is no {column.kind}: {error}") from error


FACTS = Table(
    "facts",
    "one thing that was run, as a person reads it",
    (Column("name", "text", "what is told of"), Column("text", "text", "what there is to tell")),
)
"""What stands above the numbers of a study: model, task, prompts, demonstrations."""
