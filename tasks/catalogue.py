"""The catalogue: every task by name, and how a name becomes a `Task` with records.

It holds the seven datasets of the papers, the pocket tasks, and whatever `register_task` adds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UserError, shown
from .delimited_files import Quoting
from .entry import TaskEntry
from .given_label_words import LabelWords, read_label_words, words_of_labels
from .given_records import GivenRecords
from .hub import read_hub_rows
from .label_values import is_number
from .own_task import own_entry, require_own
from .pocket import DEFAULT_POCKET_TASK, POCKET_TASKS, PocketTask, pocket_records
from .published_tasks import PUBLISHED_TASKS
from .record_format import Counting, RecordFormat
from .records import RecordsRead, read_data, read_records
from .task import Task, Template

__all__ = ["DEFAULT_TASK", "TaskEntry", "load_task", "register_task", "task_entry", "task_names"]

DEFAULT_TASK = DEFAULT_POCKET_TASK
"""The task of a run that names none: it needs no network."""


def task_names() -> tuple[str, ...]:
    """Names of all tasks, the papers' first."""
    return tuple(_ENTRIES)


def task_entry(name: str) -> TaskEntry:
    """The catalogue's row for `name`.

    Raises:
        UserError: When there is none.
    """
    if name not in _ENTRIES:
        raise UserError(
            f"There is no task {shown(name)}: choose from {', '.join(task_names())}, register one with "
            "register_task, or give data, a template's text and label words."
        )
    return _ENTRIES[name]


def register_task(entry: TaskEntry, *, replace_existing: bool = False) -> None:
    """Add a task to the catalogue, under its name.

    Raises:
        UserError: When the name is taken and `replace_existing` is false.
    """
    if entry.name in _ENTRIES and not replace_existing:
        raise UserError(
            f"There is a task {shown(entry.name)} already: choose another name, or replace_existing=True."
        )
    _ENTRIES[entry.name] = entry


def load_task(
    name: str,
    *,
    template: str | None = None,
    label_words: str | Sequence[str] | Mapping[Any, str] | None = None,
    data: Any = None,
    columns: Mapping[str, str] | None = None,
    separator: str | None = None,
    quoting: Quoting = "auto",
) -> Task:
    """Load a task of the catalogue, or of the user's own.

    Args:
        name: A name of `task_names()`. Any other name serves for the user's own data when `data`, the text of
            a template and `label_words` are given.
        template: A variant of the entry, such as `dai` or `shen`; or a template's text with its fields in
            braces. None takes the entry's first variant (`dai` for the papers' datasets).
        label_words: Words to use instead of the template's: in label order, or a mapping from labels. The keys of
            a mapping are the values in the data, whose order is that of the labels; for a task of the catalogue
            they may be its label names or numbers. See `read_label_words` for texts.
        data: Records instead of the hub's, see `read_data`: a directory, a file, a mapping of parts, a DataFrame,
            a dataset, or an iterable of mappings.
        columns: `{column: field}` for columns that go by other names; the label's field is `label`.
        separator: What follows each demonstration, instead of the template's: literal text, or
            `END_OF_SEQUENCE`.
        quoting: What quotation marks are in CSV and TSV files: `auto`, `none` (text) or `minimal` (they enclose).

    Raises:
        UserError: For an unknown task or variant, label words that do not match the labels, and data that
            cannot be read.
    """
    words = None if label_words is None else read_label_words(label_words)
    own = name not in _ENTRIES and not (template is None and words is None and data is None)
    entry = own_entry(name, *require_own(name, template, words, data)) if own else task_entry(name)
    entry, in_order, counting = _labels(entry, words, own, data)
    chosen = _template(entry, template, in_order, separator)
    if columns and data is None and entry.records is not None:
        raise UserError(f"Task {shown(entry.name)} makes its own records: map columns only with data.")
    form = RecordFormat(chosen.fields, entry.label_names, columns or {}, entry.columns, quoting, counting)
    read = _records(entry, form, data)
    return Task(
        name, entry.label_names, read.train, read.validation, chosen, _source(entry, data), read.notes
    )


def _labels(
    entry: TaskEntry, words: LabelWords | None, own: bool, data: Any
) -> tuple[TaskEntry, tuple[str, ...] | None, Counting]:
    """The entry with the labels that the words are for, the words in their order, and how integers are read."""
    if not isinstance(words, dict):
        return entry, words, "unsaid"
    in_order = None if own else words_of_labels(words, entry.label_names)
    if in_order is not None:
        return entry, in_order, "from_zero" if all(map(is_number, words)) else "unsaid"
    if data is None:
        raise UserError(
            f"Task {shown(entry.name)} has the labels {', '.join(entry.label_names)}, numbered from 0, and the label "
            f"words are for {', '.join(words)}: name its labels."
        )
    # Of the user's own task, or the user's own values of a dataset that the catalogue knows by other ones.
    return replace(entry, label_names=tuple(words)), tuple(words.values()), "never"


def _template(
    entry: TaskEntry, template: str | None, words: tuple[str, ...] | None, separator: str | None
) -> Template:
    if template is not None and "{" in template:
        # The label word brings the space in front of it: one typed at the end is the same space.
        chosen = replace(entry.template(), name="custom", query=template.rstrip(" "))
    else:
        chosen = entry.template(template)
    if words is not None:
        chosen = replace(chosen, label_words=words)
    return chosen if separator is None else replace(chosen, separator=separator, separator_given=True)


def _records(entry: TaskEntry, form: RecordFormat, data: Any) -> RecordsRead:
    if data is not None:
        return read_data(data, form)
    if entry.records is not None:
        train, validation = entry.records()
        return RecordsRead(tuple(train), tuple(validation))
    if entry.hub_id is None:
        raise UserError(
            f"Task {shown(entry.name)} has no data of its own: give it with data=PATH (--data PATH)."
        )
    train, validation = (
        read_records(read_hub_rows(entry.hub_id, entry.hub_config, split), form)
        for split in (entry.train_split, entry.evaluation_split)
    )
    return RecordsRead(train, validation)


def _source(entry: TaskEntry, data: Any) -> str:
    if isinstance(data, str | Path | GivenRecords):
        return str(data)
    if data is not None:
        return "given records"
    if entry.records is not None:
        return f"generated ({entry.name})"
    config = f" ({entry.hub_config})" if entry.hub_config else ""
    return f"hub: {entry.hub_id}{config}, {entry.train_split} and {entry.evaluation_split}"


def _pocket_entry(task: PocketTask) -> TaskEntry:
    return TaskEntry(
        name=task.name,
        label_names=task.label_names,
        templates=(Template("pocket", task.query, task.label_words, task.separator),),
        records=lambda: pocket_records(task.name),
        description=task.description,
    )


_ENTRIES: dict[str, TaskEntry] = {
    entry.name: entry for entry in (*PUBLISHED_TASKS, *map(_pocket_entry, POCKET_TASKS.values()))
}
