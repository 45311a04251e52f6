"""CSV and TSV files, and whether quotation marks in them enclose fields or belong to the text.

Two dialects share one file ending. Spreadsheets and pandas enclose a field in quotation marks where it holds a
delimiter, a line break or a quotation mark, which is then doubled. GLUE's TSV files enclose nothing: a quotation
mark is a character of the text. Read as the other one, a file loses characters, or a text that begins with a
quotation mark swallows the records up to the next one. So both readings are made, and where both are possible and
differ the user is asked.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Literal, NoReturn

from ..errors import UserError, reason_of, shown
from ..text_files import LARGEST_TABLE, read_text
from .column_names import MOST_COLUMNS, listed, named_twice
from .label_values import is_number

Quoting = Literal["auto", "none", "minimal"]
"""What quotation marks are: part of the text (`none`), around fields that need it (`minimal`, as `csv` and pandas
call it), or whichever the file shows (`auto`)."""

_QUOTE = '"'
_NO_LIMIT = 2**31 - 1
# With fewer records their columns do not show which values belong there.
_ENOUGH_RECORDS = 20
_field_limit_lock = Lock()


@dataclass(frozen=True)
class DelimitedRow:
    """One record of a file.

    Attributes:
        first: Number of its first line, from 1.
        last: Number of its last line.
        values: Its fields.
    """

    first: int
    last: int
    values: list[str]


@dataclass(frozen=True)
class _Reading:
    """A file read in one dialect: the header, the records, and what is wrong, if anything is."""

    header: list[str]
    rows: list[DelimitedRow]
    flaw: str | None = None


def read_delimited(path: Path, delimiter: str, quoting: Quoting) -> tuple[list[str], list[DelimitedRow]]:
    """The header and the records of a file, blank lines left out.

    Raises:
        UserError: When a record cannot be read or has other fields than the header names, and when both dialects
            are possible and differ.
    """
    # Lines as csv ends them; str.splitlines would also break at characters of the text.
    lines = list(io.StringIO(read_text(path, LARGEST_TABLE), newline=""))
    reading = _reading(path, lines, delimiter, quoting)
    if reading.flaw is not None:
        raise UserError(f"{shown(path)} {reading.flaw}.")
    return reading.header, reading.rows


def _reading(path: Path, lines: Sequence[str], delimiter: str, quoting: Quoting) -> _Reading:
    if quoting == "none":
        return _unquoted(lines, delimiter)
    quoted = _quoted(lines, delimiter)
    opening = next((n for n, line in enumerate(lines, 1) if _opens(line, delimiter)), None)
    if quoting == "minimal" or opening is None:
        return quoted
    unquoted = _unquoted(lines, delimiter)
    merged = [] if quoted.flaw else [row for row in quoted.rows if row.last > row.first]
    known = (row.values for row in quoted.rows if merged)
    columns = [_Column.of(values) for values in zip(*known, strict=True)]
    swallowed = [row for row in merged if _looks_like_records(row, columns, lines, delimiter)]
    if delimiter == ",":
        # A comma in a text must be enclosed, so quotation marks at the start of a field enclose it.
        few = not unquoted.flaw and len(quoted.rows) < _ENOUGH_RECORDS
        doubtful = merged if few else swallowed
        return _ask(path, doubtful[0].first) if doubtful else quoted
    if quoted.flaw and unquoted.flaw:
        return _Reading(
            [], [], f"{unquoted.flaw}; quoting='minimal' (--quoting minimal) does not read it either"
        )
    if quoted.flaw:
        return _ask(path, opening) if _encloses_doubled(unquoted) else unquoted
    if unquoted.flaw:
        return _ask(path, swallowed[0].first) if swallowed else quoted
    if merged:
        return unquoted if swallowed == merged and not _shows_enclosing(unquoted) else _ask(path, opening)
    return quoted if _shows_enclosing(unquoted) else _ask(path, opening)


def _ask(path: Path, line: int) -> NoReturn:
    raise UserError(
        f"{shown(path)} line {line} has a field that begins with a quotation mark: say with quoting='minimal' "
        "(--quoting minimal) that it encloses the field, as spreadsheets write, or with quoting='none' "
        "(--quoting none) that it is text, as in GLUE's files."
    )


def _opens(line: str, delimiter: str) -> bool:
    return line.startswith(_QUOTE) or delimiter + _QUOTE in line


def _unquoted(lines: Sequence[str], delimiter: str) -> _Reading:
    rows = [
        DelimitedRow(number, number, fields)
        for number, line in enumerate(lines, start=1)
        if (fields := _split(line, delimiter)) != [""]
    ]
    return _checked(rows, None, delimiter)


def _quoted(lines: Sequence[str], delimiter: str) -> _Reading:
    rows: list[DelimitedRow] = []
    first, flaw = 1, None
    with _long_fields():
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for values in reader:
                if values:
                    rows.append(DelimitedRow(first, reader.line_num, values))
                first = reader.line_num + 1
        except csv.Error as error:
            flaw = (
                f"line {first} cannot be read ({reason_of(error, 60)}): close every quotation mark that opens a "
                "field, or say quoting='none' (--quoting none) where they are part of the text"
            )
    return _checked(rows, flaw, delimiter)


def _checked(rows: list[DelimitedRow], flaw: str | None, delimiter: str) -> _Reading:
    """A reading whose first record is the header, with what is wrong with it first."""
    header = rows[0].values if rows else []
    if len(header) > MOST_COLUMNS:
        return _Reading(
            [],
            [],
            f"line {rows[0].first} names {len(header):,} columns and at most {MOST_COLUMNS:,} are read",
        )
    twice = named_twice(filter(None, header))
    if twice is not None:
        return _Reading(
            header, rows[1:], f"names the column {shown(twice)} twice: give every column its own name"
        )
    for row in rows[1:]:
        if len(row.values) != len(header):
            flaw = (
                f"line {row.first} has {len(row.values)} fields and the header names {len(header)} "
                f"({listed(header)}): quote fields that contain {delimiter!r}"
            )
            break
    return _Reading(header, rows[1:], flaw)


def _split(line: str, delimiter: str) -> list[str]:
    return line.rstrip("\r\n").split(delimiter)


def _shows_enclosing(unquoted: _Reading) -> bool:
    """Whether quotation marks can only enclose: those around a column's name, or around doubled ones.

    A bare one in a text says otherwise, as whoever encloses fields would have enclosed that one.
    """
    bare = any(_QUOTE in field and not field.startswith(_QUOTE) for field in _fields(unquoted))
    return any(name.startswith(_QUOTE) for name in unquoted.header) or (
        _encloses_doubled(unquoted) and not bare
    )


def _encloses_doubled(unquoted: _Reading) -> bool:
    return any(
        field.startswith(_QUOTE) and field.endswith(_QUOTE) and _only_doubled(field[1:-1])
        for field in _fields(unquoted)
    )


def _only_doubled(text: str) -> bool:
    return _QUOTE * 2 in text and _QUOTE not in text.replace(_QUOTE * 2, "")


def _fields(reading: _Reading) -> Iterator[str]:
    return chain.from_iterable(row.values for row in reading.rows)


@dataclass(frozen=True)
class _Column:
    """What stands in a column: its values, and whether they are all numbers."""

    values: frozenset[str]
    numeric: bool

    @classmethod
    def of(cls, values: Iterable[str]) -> _Column:
        different = frozenset(values)
        return cls(different, all(is_number(value.strip()) for value in different))

    def has_room_for(self, value: str) -> bool:
        """Whether a value belongs there."""
        return value in self.values or (self.numeric and is_number(value.strip()))


def _looks_like_records(
    row: DelimitedRow, columns: Sequence[_Column], lines: Sequence[str], delimiter: str
) -> bool:
    """Whether the first line of a record and another one are records: whole, with a value in place in a column."""
    alone = [_split(line, delimiter) for line in lines[row.first - 1 : row.last]]
    whole = [fields for fields in alone if len(fields) == len(columns)]
    if len(whole) < 2 or whole[0] is not alone[0]:
        return False
    return any(
        column.has_room_for(whole[0][place])
        and any(column.has_room_for(fields[place]) for fields in whole[1:])
        for place, column in enumerate(columns)
    )


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let csv read fields of any length; its limit belongs to the whole process, so it is put back."""
    with _field_limit_lock:
        earlier = csv.field_size_limit(_NO_LIMIT)
        try:
            yield
        finally:
            csv.field_size_limit(earlier)
