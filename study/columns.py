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
        given = _by_column(rows, names)
        if set(given) != set(names):
            missing = ", ".join(name for name in names if name not in given)
            unknown = ", ".join(str(name) for name in given if name not in names)
            raise ValueError(
                f"table {self.name!r} lacks columns [{missing}] and has unknown ones [{unknown}]"
            )
        return pandas.DataFrame(
            {column.name: _of_kind(given[column.name], column, self.name) for column in self.columns}
        )


def _by_column(rows: Any, names: list[str]) -> dict[str, list[Any]]:
    """Return the values of each column, before a data frame could make numbers of integers beside a gap."""
    import pandas

    if isinstance(rows, pandas.DataFrame):
        return {str(name): list(rows[name]) for name in rows}
    if isinstance(rows, Mapping):
        lengths = [
            len(values) for values in rows.values() if not isinstance(values, str | int | float | None)
        ]
        many = lengths[0] if lengths else 1
        return {
            name: [values] * many if isinstance(values, str | int | float | None) else list(values)
            for name, values in rows.items()
        }
    rows = list(rows)
    known = dict.fromkeys([*names, *(name for row in rows for name in row)]) if rows else names
    lacking = {name for name in known if not all(name in row for row in rows)}
    return {name: [row[name] for row in rows] for name in known if name not in lacking}


def _of_kind(values: list[Any], column: Column, table: str) -> Any:
    """Return a column as its declared kind; a text is never made of what is none."""
    import pandas

    if column.kind == "text" and not all(isinstance(value, str) or _is_missing(value) for value in values):
        raise ValueError(f"column {column.name!r} of table {table!r} is text, and holds something else")
    try:
        plain = [None if _is_missing(value) else value for value in values]
        return pandas.Series(pandas.array(plain, dtype=_DTYPES[column.kind]))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"column {column.name!r} of table {table!r} is no {column.kind}: {error}") from error


def _is_missing(value: Any) -> bool:
    import pandas

    return value is None or value is pandas.NA or (isinstance(value, float) and value != value)


FACTS = Table(
    "facts",
    "one thing that was run, as a person reads it",
    (Column("name", "text", "what is told of"), Column("text", "text", "what there is to tell")),
)
"""What stands above the numbers of a study: model, task, prompts, demonstrations."""
