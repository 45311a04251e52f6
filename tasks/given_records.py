"""Records that are in memory: mappings, DataFrames, and the datasets of Hugging Face's library."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from .label_values import NamedClass

_BEGINNING = "given records ("


@dataclass(frozen=True)
class GivenRecords:
    """A copy of records that were handed over in memory, which a configuration can hold.

    In a file it is the text of `str`, which says how many records there were and cannot be read back.

    Attributes:
        parts: Rows by the name of their part, or one undivided part under the name ``""``; a part may be a path.
        sha256: Of all rows, in hex; what equality compares.
    """

    parts: Mapping[str, str | tuple[Mapping[str, Any], ...]] = field(compare=False, repr=False)
    sha256: str

    @classmethod
    def of(cls, data: Any) -> GivenRecords:
        """Copy what `read_pools` takes, whatever can be gone through only once included.

        Raises:
            UserError: When it holds no records.
        """
        whole = not isinstance(data, Mapping)
        parts = {
            str(name): str(part) if isinstance(part, str | Path) else tuple(given_rows(part))
            for name, part in ({"": data} if whole else data).items()
        }
        content = json.dumps([*parts.items()], default=repr, ensure_ascii=True)
        return cls(parts, hashlib.sha256(content.encode()).hexdigest())

    @property
    def data(self) -> Any:
        """The records as `read_pools` takes them."""
        return self.parts[""] if list(self.parts) == [""] else self.parts

    def __str__(self) -> str:
        """Say how many records there are and which, in place of them."""
        counts = (
            f"{name} {part if isinstance(part, str) else len(part)}".strip()
            for name, part in self.parts.items()
        )
        return f"{_BEGINNING}{', '.join(counts)}; sha256 {self.sha256[:16]})"


def require_readable(data: str) -> str:
    """Return a path, and refuse the text that stands for records which were in memory.

    Raises:
        UserError: When it is such a text.
    """
    if data.startswith(_BEGINNING):
        raise UserError("the records were in memory and are not in this file: give them again as data")
    return data


def given_rows(source: Any) -> list[Mapping[str, Any]]:
    """The rows of a DataFrame, a dataset, or any iterable of mappings.

    Raises:
        UserError: When it is none of these.
    """
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(source, pandas.DataFrame):
        return list(frame_rows(source, "The given data"))
    if isinstance(source, str | bytes | Mapping) or not isinstance(source, Iterable):
        raise UserError(f"Cannot read records from {source!r:.80}: give a path or an iterable of mappings.")
    features = getattr(source, "features", None)
    classes = {}
    if isinstance(features, Mapping):
        classes = {name: getattr(feature, "names", None) for name, feature in features.items()}
    if hasattr(source, "with_format"):
        # A dataset that yields tensors yields plain values without its format.
        source = source.with_format(None)  # pyright: ignore[reportAttributeAccessIssue]
    rows = []
    for number, row in enumerate(source, start=1):
        if not isinstance(row, Mapping):
            raise UserError(
                f"Record {number} of the given data is {row!r:.80}: give mappings like "
                '{"text": "a fine film", "label": 1}.'
            )
        rows.append(with_class_names({str(column): value for column, value in row.items()}, classes))
    return rows


def frame_rows(table: Any, name: str) -> Iterator[dict[str, Any]]:
    """The rows of a pandas DataFrame, with None for what is missing.

    Raises:
        UserError: When two columns have one name.
    """
    import pandas

    columns = one_name_each([str(column) for column in table.columns], name)
    for values in table.itertuples(index=False, name=None):
        present = (None if pandas.isna(value) is True else value for value in values)
        yield dict(zip(columns, present, strict=True))


def one_name_each(columns: Sequence[str], name: str) -> Sequence[str]:
    """Return the columns of a table, and refuse two of one name.

    Raises:
        UserError: When there are.
    """
    twice = next((column for place, column in enumerate(columns) if column in columns[:place]), None)
    if twice is not None:
        raise UserError(f"{name} has the column {twice!r} twice: give every column its own name.")
    return columns


def with_class_names(
    row: Mapping[str, Any], classes: Mapping[str, Sequence[str] | None]
) -> Mapping[str, Any]:
    """Return a row in which an integer that its dataset has a name for knows that name."""
    named = {
        column: NamedClass(value, names[value])
        for column, names in classes.items()
        if names and isinstance(value := row.get(column), int) and 0 <= value < len(names)
    }
    return {**row, **named} if named else row
