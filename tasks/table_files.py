"""Rows of JSONL, CSV, TSV and Parquet files, each with the words that say where it stands.

A row is handed on as it was read: which column is what is decided in `records`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ..errors import UserError, reason_of, shown
from ..json_text import parse_json
from ..text_files import LARGEST_TABLE, Unreadable, read_text, require_file
from .column_names import one_name_each
from .delimited_files import Quoting, read_delimited
from .given_records import frame_rows, with_class_names

Row = tuple[str, Mapping[str, Any]]
"""Where a row stands, such as `train.jsonl line 3`, and its values by column name."""


def read_rows(path: Path, quoting: Quoting = "auto") -> list[Row]:
    """All rows of the file at `path`, in file order.

    Args:
        path: The file.
        quoting: What quotation marks are in CSV and TSV files.

    Raises:
        UserError: For a file that is missing, of an unknown format, or has a line that cannot be read.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"Cannot read {shown(path)}: give a file that ends in {', '.join(TABLE_SUFFIXES)}.")
    return list(reader(path, quoting))


def _read_jsonl(path: Path, quoting: Quoting) -> Iterator[Row]:
    for number, line in enumerate(StringIO(read_text(path, LARGEST_TABLE)), start=1):
        if not line.strip():
            continue
        place = f"{shown(path)} line {number}"
        try:
            values = parse_json(line)
        except Unreadable as error:
            raise UserError(
                f"{place} is not JSON that can be read ({error}): write one flat JSON object on each line."
            ) from error
        if not isinstance(values, dict):
            raise UserError(
                f"{place} is no JSON object: write one on each line, like "
                '{"text": "a fine film", "label": 1}.'
            )
        yield place, values


def _read_csv(path: Path, quoting: Quoting) -> Iterator[Row]:
    return _delimited_rows(path, ",", quoting)


def _read_tsv(path: Path, quoting: Quoting) -> Iterator[Row]:
    return _delimited_rows(path, "\t", quoting)


def _delimited_rows(path: Path, delimiter: str, quoting: Quoting) -> Iterator[Row]:
    header, rows = read_delimited(path, delimiter, quoting)
    for row in rows:
        yield f"{shown(path)} line {row.first}", dict(zip(header, row.values, strict=True))


def _read_parquet(path: Path, quoting: Quoting) -> Iterator[Row]:
    require_file(path, LARGEST_TABLE)
    try:
        import pandas
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"Cannot read {shown(path)}: Parquet files need pyarrow; run pip install pyarrow, or use JSONL."
        ) from error
    try:
        schema = pyarrow.parquet.read_schema(path)
        one_name_each(schema.names, shown(path))
        # With Arrow types a missing value leaves the other labels integers; NumPy types make them floats.
        table = pandas.read_parquet(path, dtype_backend="pyarrow")
    except UserError:
        raise
    # Damaged files bring up whatever the library of Arrow does not expect.
    except Exception as error:
        raise UserError(
            f"Cannot read {shown(path)} as Parquet ({reason_of(error, 100)}): check that it is complete."
        ) from error
    classes = _class_names(schema.metadata or {})
    for number, row in enumerate(frame_rows(table, shown(path)), start=1):
        yield f"{shown(path)} row {number}", with_class_names(row, classes)


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names that `datasets` has for the integers of a column, as it stores them in a Parquet file."""
    try:
        features = parse_json(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {column: feature["names"] for column, feature in features.items() if "names" in feature}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


_READERS: Mapping[str, Callable[[Path, Quoting], Iterator[Row]]] = {
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
}

TABLE_SUFFIXES: tuple[str, ...] = tuple(_READERS)
"""File endings that can be read."""
