"""Records from a file, a directory, the Hugging Face hub, or anything that yields mappings.

Columns are found by name. For a field of the template these are tried in turn: a column that the user maps to
it, a column of the field's own name, and the column that the catalogue knows the dataset by. So the hub's
`sentence` and a local file's `text` both fill `{text}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from ..errors import UserError
from ..seeds import derive_seed
from .entry import RecordPools
from .table_files import TABLE_SUFFIXES, Row, read_rows
from .task import Record

LABEL_FIELD = "label"
"""The field name under which a column map and a dataset know the label."""

_VALIDATION_STEMS = ("validation", "valid", "dev", "test")


@dataclass(frozen=True)
class RecordFormat:
    """What to take from a row.

    Attributes:
        fields: The text fields that the template needs.
        label_names: Names of the labels in label order; a row may give a name or its index.
        columns: `{column: field}` as the user mapped them; the label's field is `label`.
        known_columns: `{column: field}` as the catalogue knows the dataset.
    """

    fields: tuple[str, ...]
    label_names: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    known_columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a mapping to a field that nothing reads, which would hide a typing error."""
        for column, name in self.columns.items():
            if name not in (*self.fields, LABEL_FIELD):
                raise UserError(
                    f"The column {column!r} is mapped to {name!r}, which the template does not use: "
                    f"map to one of {', '.join((*self.fields, LABEL_FIELD))}."
                )


def read_records(source: str | Path | Iterable[Mapping[str, Any]], form: RecordFormat) -> tuple[Record, ...]:
    """Records of one file or of any iterable of mappings, in order.

    Raises:
        UserError: For an empty source, a missing column, a text that is not text or a label outside the label
            set, each with the file, the line and the value.
    """
    if isinstance(source, str | Path):
        rows, name = read_rows(Path(source)), str(source)
    else:
        rows, name = _given_rows(source), "The given data"
    if not rows:
        raise UserError(f"{name} has no records: give at least one.")
    return tuple(_record(place, row, form) for place, row in rows)


def read_pools(data: str | Path | Mapping[str, Any] | Iterable[Any], form: RecordFormat) -> RecordPools:
    """Train and validation records from whatever the user has.

    Args:
        data: A directory that holds `train` and `validation` (or `valid`, `dev`, `test`) as `.jsonl`, `.csv`,
            `.tsv` or `.parquet`; a mapping with these keys; or one file or iterable, which is split in two
            (see `split_records`).
        form: Which columns to take.
    """
    if isinstance(data, Mapping):
        train = data.get("train")
        validation = next((data[stem] for stem in _VALIDATION_STEMS if stem in data), None)
        if train is None or validation is None:
            raise UserError(
                f"The given data has the keys {', '.join(map(str, data)) or 'none'}: name its two parts "
                "'train' and 'validation'."
            )
        return read_records(train, form), read_records(validation, form)
    if isinstance(data, str | Path) and Path(data).is_dir():
        directory = Path(data)
        train_path = _file_called(directory, ("train",))
        validation_path = _file_called(directory, _VALIDATION_STEMS)
        return read_records(train_path, form), read_records(validation_path, form)
    return split_records(read_records(data, form))


def split_records(records: Sequence[Record]) -> RecordPools:
    """Two disjoint halves of `records`: every second distinct text, drawn with a fixed seed.

    Records with the same text fall into the same half, so that no demonstration is also a query. Both halves
    keep the order of `records`.
    """
    texts = list(dict.fromkeys(record.texts for record in records))
    if len(texts) < 2:
        raise UserError(
            f"One source of {len(texts)} distinct record(s) cannot serve both as train and as validation "
            "records: give at least two, or give the two parts separately."
        )
    generator = numpy.random.default_rng(derive_seed("tasks", "split"))
    chosen = generator.permutation(len(texts))[: (len(texts) + 1) // 2]
    train_texts = {texts[index] for index in chosen}
    train = tuple(record for record in records if record.texts in train_texts)
    validation = tuple(record for record in records if record.texts not in train_texts)
    return train, validation


def label_index(value: object, label_names: Sequence[str], place: str) -> int:
    """The index of a label given as a name, an integer, or an integer written as text.

    Raises:
        UserError: When `value` is none of these or outside the label set; `place` says where it was read.
    """
    if isinstance(value, str) and value.strip() in label_names:
        return list(label_names).index(value.strip())
    number = _as_integer(value)
    if number is None or not 0 <= number < len(label_names):
        raise UserError(
            f"{place} has the label {value!r}: use 0 to {len(label_names) - 1} or one of "
            f"{', '.join(label_names)}."
        )
    return number


def _as_integer(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | numpy.integer):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*\d+\s*", value):
        return int(value)
    return None


def _record(place: str, row: Mapping[str, Any], form: RecordFormat) -> Record:
    fields = {}
    for name in form.fields:
        column = _column_for(name, place, row, form)
        value = row[column]
        if not isinstance(value, str):
            raise UserError(f"{place} has {value!r} in the column {column!r}: text is needed there.")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise UserError(f"{place} has {value!r} in the column {column!r}: that is half a character.")
        fields[name] = value
    label = row[_column_for(LABEL_FIELD, place, row, form)]
    return Record(fields, label_index(label, form.label_names, place))


def _column_for(name: str, place: str, row: Mapping[str, Any], form: RecordFormat) -> str:
    mapped = [column for column, target in form.columns.items() if target == name]
    known = [column for column, target in form.known_columns.items() if target == name]
    candidates = mapped or [name, *known]
    for column in candidates:
        if column in row:
            return column
    wanted = " or ".join(repr(column) for column in candidates)
    raise UserError(
        f"{place} has no column {wanted} (it has {', '.join(map(str, row)) or 'none'}): "
        f"name the column that holds {name!r}, as {{column: {name}}}."
    )


def _given_rows(source: Iterable[Mapping[str, Any]]) -> list[Row]:
    if not isinstance(source, Iterable):
        raise UserError(f"Cannot read records from {source!r:.80}: give a path or an iterable of mappings.")
    rows: list[Row] = []
    for number, row in enumerate(source, start=1):
        place = f"Record {number} of the given data"
        if not isinstance(row, Mapping):
            raise UserError(
                f'{place} is {row!r:.80}: give mappings like {{"text": "a fine film", "label": 1}}.'
            )
        rows.append((place, row))
    return rows


def _file_called(directory: Path, stems: Sequence[str]) -> Path:
    for stem in stems:
        found = [
            directory / (stem + suffix)
            for suffix in TABLE_SUFFIXES
            if (directory / (stem + suffix)).is_file()
        ]
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            raise UserError(f"{directory} has both {names}: keep one of them.")
        if found:
            return found[0]
    raise UserError(
        f"{directory} has no {stems[0]} file: put {stems[0]}.jsonl (or {', '.join(TABLE_SUFFIXES[1:])}) "
        "there, or give the path of one file."
    )
