"""One task of the catalogue in words: what it asks, and how to give it data of one's own."""

from __future__ import annotations

from .data_parts import TRAIN, VALIDATION
from .entry import TaskEntry
from .table_files import TABLE_SUFFIXES
from .task import END_OF_SEQUENCE, Template
from .template_fields import LABEL_FIELD


def describe_task(entry: TaskEntry) -> list[str]:
    """Return the lines that say everything the catalogue knows about a task.

    Args:
        entry: The catalogue's row.
    """
    first = entry.template()
    labels = ", ".join(f"{index} {name}" for index, name in enumerate(entry.label_names))
    lines = [
        f"{entry.name}: {entry.description}".rstrip(": "),
        f"records    {_records(entry)}",
        f"labels     {labels}",
    ]
    for template in entry.templates:
        lines += [
            "",
            f"template {template.name}" + " (the default)" * (template is first),
            *_template(template),
        ]
    columns = [*first.fields, LABEL_FIELD]
    mapped = ",".join(f"your_{name}={name}" for name in columns)
    return [
        *lines,
        "",
        f"your own   iclprobe compare --task {entry.name} --data PATH",
        f"           PATH is a file ({', '.join(TABLE_SUFFIXES)}), which is split in two, or a folder with",
        f"           {TRAIN[0]} and {VALIDATION[0]} files; its columns are",
        *(f"           {name:10} {_column(entry, name)}" for name in columns),
        f"           columns of other names: --columns {mapped}",
        f"           other words: --label-words '{','.join(f'{name}=…' for name in entry.label_names)}'",
    ]


def _records(entry: TaskEntry) -> str:
    if entry.records is not None:
        return "made by iclprobe, no network needed"
    if entry.hub_id is None:
        return "none of its own: give --data PATH"
    config = f", configuration {entry.hub_config}" if entry.hub_config else ""
    return (
        f"{entry.hub_id} on the Hugging Face hub{config}: demonstrations from {entry.train_split}, queries from "
        f"{entry.evaluation_split}"
    )


def _template(template: Template) -> list[str]:
    separator = "the tokenizer's end-of-sequence token"
    if template.separator != END_OF_SEQUENCE:
        separator = repr(template.separator)
    return [
        f"  text       {template.query!r}, then {template.label_prefix!r} and a label word",
        f"  words      {', '.join(template.label_words)}",
        f"  separator  {separator}",
    ]


def _column(entry: TaskEntry, name: str) -> str:
    known = [column for column, field in entry.columns.items() if field == name]
    also = f", or called {' or '.join(known)}" if known else ""
    return ("a label's name or its number, from 0" if name == LABEL_FIELD else "text") + also
