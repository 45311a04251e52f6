"""Rows of JSONL, CSV, TSV and Parquet files, each with the words that say where it stands.

A row is handed on as it was read: which column is what is decided in `records`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from .delimited_files import Quoting, read_delimited
from .given_records import frame_rows, one_name_each, with_class_names

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
    if not path.exists():
        raise UserError(f"There is no file {path}: check the path.")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"Cannot read {path}: give a file that ends in {', '.join(TABLE_SUFFIXES)}.")
    try:
        return list(reader(path, quoting))
    except OSError as error:
        raise UserError(f"Cannot read {path} ({error.strerror or error}): check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error}): save it as UTF-8.") from error


def _read_jsonl(path: Path, quoting: Quoting) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{path} line {number}"
            try:
                values = json.loads(line, object_pairs_hook=_once_each)
            except json.JSONDecodeError as error:
                shown = line.strip()[:80]
                raise UserError(
                    f"{place} is not JSON ({error.msg} at column {error.colno}): {shown!r}; "
                    "write one JSON object on each line."
                ) from error
            except (RecursionError, ValueError) as error:
                raise UserError(
                    f"{place} nests too deep or holds a number that is too long: write one flat JSON object on "
                    "each line."
                ) from error
            except _NamedTwice as error:
                raise UserError(f"{place} has the key {str(error)!r} twice: keep one of them.") from error
            if not isinstance(values, dict):
                raise UserError(
                    f"{place} is {values!r:.80}: write one JSON object on each line, like "
                    '{"text": "a fine film", "label": 1}.'
                )
            yield place, values


class _NamedTwice(Exception):
    """A JSON object has this key twice, of which Python's reader would keep the last."""


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _NamedTwice(next(key for place, key in enumerate(keys) if key in keys[:place]))
    return values


def _read_csv(path: Path, quoting: Quoting) -> Iterator[Row]:
    return _delimited_rows(path, ",", quoting)


def _read_tsv(path: Path, quoting: Quoting) -> Iterator[Row]:
    return _delimited_rows(path, "\t", quoting)


def _delimited_rows(path: Path, delimiter: str, quoting: Quoting) -> Iterator[Row]:
    header, rows = read_delimited(path, delimiter, quoting)
    for row in rows:
        yield f"{path} line {row.first}", dict(zip(header, row.values, strict=True))


def _read_parquet(path: Path, quoting: Quoting) -> Iterator[Row]:
    try:
        import pandas
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"Cannot read {path}: Parquet files need pyarrow; run pip install pyarrow, or use JSONL."
        ) from error
    try:
        schema = pyarrow.parquet.read_schema(path)
        one_name_each(schema.names, str(path))
        # With Arrow types a missing value leaves the other labels integers; NumPy types make them floats.
        table = pandas.read_parquet(path, dtype_backend="pyarrow")
    except UserError:
        raise
    except (ValueError, OSError) as error:
        raise UserError(f"Cannot read {path} as Parquet ({error}): check that it is complete.") from error
    classes = _class_names(schema.metadata or {})
    for number, row in enumerate(frame_rows(table, str(path)), start=1):
        yield f"{path} row {number}", with_class_names(row, classes)


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names that `datasets` has for the integers of a column, as it stores them in a Parquet file."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
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
