"""Records from a file, a directory, the Hugging Face hub, or anything that yields mappings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, shown
from ..seeds import derive_seed
from ..text_files import has_half_character
from .column_names import listed
from .data_parts import DataPart, find_parts
from .entry import RecordPools
from .given_records import GivenRecords, given_rows
from .label_values import is_missing, label_choices, label_index, shown_label
from .record_format import RecordFormat
from .table_files import Row, read_rows
from .task import Record
from .template_fields import LABEL_FIELD

__all__ = [
    "LABEL_FIELD",
    "RecordFormat",
    "RecordsRead",
    "label_index",
    "read_data",
    "read_pools",
    "read_records",
    "split_records",
]


@dataclass(frozen=True)
class RecordsRead:
    """What data holds.

    Attributes:
        train: Records to draw demonstrations from.
        validation: Records to ask.
        notes: Sentences on how the data was divided, where that was not the user's own doing.
    """

    train: tuple[Record, ...]
    validation: tuple[Record, ...]
    notes: tuple[str, ...] = ()


def read_records(source: Any, form: RecordFormat) -> tuple[Record, ...]:
    """Records of one file, DataFrame or dataset, or of any iterable of mappings; each knows its place there, from 0.

    Raises:
        UserError: For an empty source, a missing column, a text that is not text or a label outside the label
            set, each with the file, the line and the value.
    """
    return _records(_rows(source, form), form)


def read_pools(data: Any, form: RecordFormat) -> RecordPools:
    """Train and validation records from whatever the user has; see `read_data`."""
    read = read_data(data, form)
    return read.train, read.validation


def read_data(data: Any, form: RecordFormat) -> RecordsRead:
    """Train and validation records from whatever the user has, and how they were told apart.

    Args:
        data: A directory or a mapping with a train and a validation part, see `data_parts`, whose parts are
            `.jsonl`, `.csv`, `.tsv` or `.parquet` files, DataFrames, datasets or iterables of mappings; or one
            of these, which is split in two (see `split_records`).
        form: Which columns to take.

    Raises:
        UserError: For what `read_records` refuses, a part that is not there or there twice, and numbers that may
            count the labels from 0 or from 1.
    """
    if isinstance(data, GivenRecords):
        data = data.data
    parts = find_parts(data)
    if parts is None:
        name = str(data) if isinstance(data, str | Path) else "the given data"
        rows = _rows(data, form)
        records = _records(rows, form)
        _refuse_uncertain_count(rows, form, name)
        train, validation = split_records(records)
        note = f"{name} was split: {len(train)} records to draw demonstrations from, {len(validation)} to ask"
        return RecordsRead(tuple(train), tuple(validation), (note,))
    train_rows, asked_rows = (_rows(part.source, form) for part in (parts.train, parts.asked))
    notes: tuple[str, ...] = ()
    if parts.asked.is_test:
        _refuse_unlabelled(asked_rows, parts.asked, form)
        notes = (f"{parts.asked.name} is asked, as there is no validation part",)
    train, validation = _records(train_rows, form), _records(asked_rows, form)
    _refuse_uncertain_count([*train_rows, *asked_rows], form, parts.name)
    return RecordsRead(train, validation, notes)


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
    import numpy

    generator = numpy.random.default_rng(derive_seed("tasks", "split"))
    chosen = generator.permutation(len(texts))[: (len(texts) + 1) // 2]
    train_texts = {texts[index] for index in chosen}
    train = tuple(record for record in records if record.texts in train_texts)
    validation = tuple(record for record in records if record.texts not in train_texts)
    return train, validation


def _rows(source: Any, form: RecordFormat) -> list[Row]:
    if isinstance(source, str | Path):
        rows, name = read_rows(Path(source), form.quoting), str(source)
    else:
        name = "The given data"
        rows = [
            (f"Record {number} of the given data", row)
            for number, row in enumerate(given_rows(source), start=1)
        ]
    if not rows:
        raise UserError(f"{name} has no records: give at least one.")
    return rows


def _records(rows: Sequence[Row], form: RecordFormat) -> tuple[Record, ...]:
    return tuple(_record(index, rows, form) for index in range(len(rows)))


def _record(index: int, rows: Sequence[Row], form: RecordFormat) -> Record:
    place, row = rows[index]
    fields = {}
    for name in form.fields:
        column = form.column_of(name, place, row)
        value = row[column]
        if not isinstance(value, str):
            raise UserError(
                f"{place} has no text in the column {shown(column)} (a {type(value).__name__}): write text there."
            )
        if has_half_character(value):
            raise UserError(
                f"{place} has half a character in the column {shown(column)}: save the text as UTF-8."
            )
        fields[name] = value
    value = row[form.column_of(LABEL_FIELD, place, row)]
    meaning = form.meaning(value)
    if meaning is None:
        raise UserError(
            f"{place} has the label {shown_label(value)}{_other_labels(value, rows[index:], form)}"
        )
    return Record(fields, meaning.index, index)


def _other_labels(first: object, rows: Sequence[Row], form: RecordFormat) -> str:
    """What else in the rows is no label, and what would be one."""
    found = (shown_label(value) for value in _label_values(rows, form) if form.meaning(value) is None)
    others = [text for text in dict.fromkeys(found) if text != shown_label(first)]
    more = f" (further on {listed(others, 3)})" if others else ""
    if form.counting == "never":
        return f"{more}, and the label words are for {listed(form.label_names)}: give it a word as well."
    return (
        f"{more}: use {label_choices(form.label_names)}, or say which value has which word, as in "
        "label_words={1: 'bad', 5: 'good'} (--label-words '1=bad,5=good')."
    )


def _label_values(rows: Sequence[Row], form: RecordFormat) -> Iterable[object]:
    for place, row in rows:
        try:
            yield row[form.column_of(LABEL_FIELD, place, row)]
        except UserError:
            yield None


def _refuse_unlabelled(rows: Sequence[Row], part: DataPart, form: RecordFormat) -> None:
    if all(is_missing(value, form.label_names) for value in _label_values(rows, form)):
        raise UserError(
            "There is no validation part, and the records of "
            f"{shown(part.source) if isinstance(part.source, Path) else part.name} have no labels: give a part "
            "called "
            "validation, or one part alone, which is split in two."
        )


def _refuse_uncertain_count(rows: Sequence[Row], form: RecordFormat, name: str) -> None:
    """Refuse numbers that count the labels where none of them is 0: they may begin at 1, all shifted by one."""
    if form.counting == "from_zero":
        return
    meanings = [
        meaning for value in _label_values(rows, form) if (meaning := form.meaning(value)) is not None
    ]
    counted = {meaning.index for meaning in meanings if meaning.counted}
    if counted and 0 not in {meaning.index for meaning in meanings}:
        found = listed(sorted(counted))
        example = ",".join(f"{number}={name[:20]}" for number, name in enumerate(form.label_names[:3]))
        example += ",…" * (len(form.label_names) > 3)
        raise UserError(
            f"The labels of {name} are the numbers {found} and never 0, so that they may count from 0 or from 1: "
            f"say which number has which word, as in --label-words '{example}' (label_words={{0: …}})."
        )
