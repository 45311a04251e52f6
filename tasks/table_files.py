"""Rows of JSONL, CSV, TSV and Parquet files, each with the words that say where it stands.

A row is handed on as it was read: which column is what is decided in `records`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError

Row = tuple[str, Mapping[str, Any]]
"""Where a row stands, such as `train.jsonl line 3`, and its values by column name."""


def read_rows(path: Path) -> list[Row]:
    """All rows of the file at `path`, in file order.

    Raises:
        UserError: For a file that is missing, of an unknown format, or has a line that cannot be read.
    """
    if not path.exists():
        raise UserError(f"There is no file {path}: check the path.")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"Cannot read {path}: give a file that ends in {', '.join(TABLE_SUFFIXES)}.")
    try:
        return list(reader(path))
    except OSError as error:
        raise UserError(f"Cannot read {path} ({error.strerror or error}): check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error}): save it as UTF-8.") from error


def _read_jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{path} line {number}"
            try:
                values = json.loads(line)
            except json.JSONDecodeError as error:
                shown = line.strip()[:80]
                raise UserError(
                    f"{place} is not JSON ({error.msg} at column {error.colno}): {shown!r}; "
                    "write one JSON object on each line."
                ) from error
            if not isinstance(values, dict):
                raise UserError(
                    f"{place} is {values!r:.80}: write one JSON object on each line, like "
                    '{"text": "a fine film", "label": 1}.'
                )
            yield place, values


def _read_delimited(path: Path, delimiter: str) -> Iterator[Row]:
    # newline="" leaves line breaks inside quoted fields to the csv module.
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            for values in reader:
                if not values:
                    continue
                place = f"{path} line {reader.line_num}"
                if len(values) != len(header):
                    raise UserError(
                        f"{place} has {len(values)} fields and the header names {len(header)} "
                        f"({', '.join(header)}): quote fields that contain {delimiter!r}."
                    )
                yield place, dict(zip(header, values, strict=True))
        except csv.Error as error:
            raise UserError(
                f"{path} line {reader.line_num} cannot be read ({error}): close every quote that is opened."
            ) from error


def _read_csv(path: Path) -> Iterator[Row]:
    return _read_delimited(path, ",")


def _read_tsv(path: Path) -> Iterator[Row]:
    return _read_delimited(path, "\t")


def _read_parquet(path: Path) -> Iterator[Row]:
    try:
        import pandas
        import pyarrow  # noqa: F401  (pandas reads Parquet through it)
    except ImportError as error:
        raise UserError(
            f"Cannot read {path}: Parquet files need pyarrow; run pip install pyarrow, or use JSONL."
        ) from error
    try:
        # With Arrow types a missing value leaves the other labels integers; NumPy types make them floats.
        table = pandas.read_parquet(path, dtype_backend="pyarrow")
    except (ValueError, OSError) as error:
        raise UserError(f"Cannot read {path} as Parquet ({error}): check that it is complete.") from error
    names = [str(name) for name in table.columns]
    for number, values in enumerate(table.itertuples(index=False, name=None), start=1):
        present = [None if pandas.isna(value) is True else value for value in values]
        yield f"{path} row {number}", dict(zip(names, present, strict=True))


_READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
}

TABLE_SUFFIXES: tuple[str, ...] = tuple(_READERS)
"""File endings that can be read."""
