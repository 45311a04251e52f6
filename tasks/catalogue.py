"""The catalogue: every task by name, and how a name becomes a `Task` with records.

It holds the seven datasets of the papers, the pocket tasks, and whatever `register_task` adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from .entry import RecordPools, TaskEntry
from .hub import read_hub_rows
from .pocket import DEFAULT_POCKET_TASK, POCKET_TASKS, PocketTask, pocket_records
from .published_tasks import PUBLISHED_TASKS
from .records import RecordFormat, read_pools, read_records
from .task import END_OF_SEQUENCE, Task, Template

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
            f"There is no task {name!r}: choose from {', '.join(task_names())}, register one with "
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
            f"There is a task {entry.name!r} already: choose another name, or replace_existing=True."
        )
    _ENTRIES[entry.name] = entry


def load_task(
    name: str,
    *,
    template: str | None = None,
    label_words: Sequence[str] | None = None,
    data: str | Path | Mapping[str, Any] | Iterable[Any] | None = None,
    columns: Mapping[str, str] | None = None,
    separator: str | None = None,
) -> Task:
    """Load a task of the catalogue, or of the user's own.

    Args:
        name: A name of `task_names()`. Any other name serves for the user's own data when `data`, the text of
            a template and `label_words` are given.
        template: A variant of the entry, such as `dai` or `shen`; or a template's text with its fields in
            braces. None takes the entry's first variant (`dai` for the papers' datasets).
        label_words: Words to use instead of the template's, in label order; text is split at commas.
        data: Records instead of the hub's, see `read_pools`: a directory, a file, a mapping with `train` and
            `validation`, or an iterable of mappings.
        columns: `{column: field}` for columns that go by other names; the label's field is `label`.
        separator: What follows each demonstration, instead of the template's: literal text, or
            `END_OF_SEQUENCE`.

    Raises:
        UserError: For an unknown task or variant, label words that do not match the labels, and data that
            cannot be read.
    """
    words = _words(label_words)
    own = name not in _ENTRIES and data is not None and words is not None and _is_text(template)
    entry = _own_entry(name, words or ()) if own else task_entry(name)
    chosen = _template(entry, template, words, separator)
    train, validation = _pools(entry, chosen, data, columns or {})
    return Task(name, entry.label_names, train, validation, chosen, _source(entry, data))


def _template(
    entry: TaskEntry, template: str | None, words: tuple[str, ...] | None, separator: str | None
) -> Template:
    if template is not None and _is_text(template):
        chosen = replace(entry.template(), name="custom", query=template)
    else:
        chosen = entry.template(template)
    if words is not None:
        chosen = replace(chosen, label_words=words)
    return chosen if separator is None else replace(chosen, separator=separator, separator_given=True)


def _pools(entry: TaskEntry, template: Template, data: Any, columns: Mapping[str, str]) -> RecordPools:
    if data is None and entry.records is not None:
        if columns:
            raise UserError(f"Task {entry.name!r} makes its own records: map columns only with data.")
        return entry.records()
    form = RecordFormat(template.fields, entry.label_names, columns, entry.columns)
    if data is not None:
        return read_pools(data, form)
    if entry.hub_id is None:
        raise UserError(f"Task {entry.name!r} has no data of its own: give it with data=PATH (--data PATH).")
    train, validation = (
        read_records(read_hub_rows(entry.hub_id, entry.hub_config, split), form)
        for split in (entry.train_split, entry.evaluation_split)
    )
    return train, validation


def _source(entry: TaskEntry, data: Any) -> str:
    if isinstance(data, str | Path):
        return str(data)
    if data is not None:
        return "given records"
    if entry.records is not None:
        return f"generated ({entry.name})"
    config = f" ({entry.hub_config})" if entry.hub_config else ""
    return f"hub: {entry.hub_id}{config}, {entry.train_split} and {entry.evaluation_split}"


def _words(label_words: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(label_words, str):
        return tuple(word.strip() for word in label_words.split(","))
    return None if label_words is None else tuple(label_words)


def _is_text(template: str | None) -> bool:
    return template is not None and "{" in template


def _own_entry(name: str, words: tuple[str, ...]) -> TaskEntry:
    # The template's text replaces this query in `_template`.
    return TaskEntry(name, words, (Template("custom", "{text}", words, END_OF_SEQUENCE),))


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
