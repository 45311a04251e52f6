"""Records that are in memory: mappings, DataFrames, and the datasets of Hugging Face's library."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from .column_names import one_name_each
from .label_values import NamedClass

_BEGINNING = "given records ("


class GivenRecords:
    """A copy of records that were handed over in memory, which a configuration can hold.

    In a file it is the text of `str`, which says how many records there were and cannot be read back. It is no
    dataclass, of which pydantic would make a dictionary.
    """

    def __init__(self, data: Any) -> None:
        """Copy what `read_data` takes, whatever can be gone through only once included.

        Raises:
            UserError: When it holds no records.
        """
        parts = data if isinstance(data, Mapping) else {"": data}
        self._parts: dict[str, str | tuple[Mapping[str, Any], ...]] = {
            str(name): str(part) if isinstance(part, str | Path) else tuple(given_rows(part))
            for name, part in parts.items()
        }
        content = json.dumps([*self._parts.items()], default=repr)
        self.sha256 = hashlib.sha256(content.encode()).hexdigest()

    @property
    def data(self) -> Any:
        """The records as `read_pools` takes them."""
        return self._parts[""] if list(self._parts) == [""] else self._parts

    def __str__(self) -> str:
        """Say how many records there are and which, in place of them."""
        counts = (
            f"{name} {part if isinstance(part, str) else len(part)}".strip()
            for name, part in self._parts.items()
        )
        return f"{_BEGINNING}{', '.join(counts)}; sha256 {self.sha256[:16]})"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        """Compare what the records say."""
        return isinstance(other, GivenRecords) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        """Hash what the records say."""
        return hash(self.sha256)


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
        raise UserError(
            f"Cannot read records from a {type(source).__name__}: give a path or an iterable of mappings."
        )
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
                f"Record {number} of the given data is a {type(row).__name__}: give mappings like "
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
