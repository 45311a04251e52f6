"""What a task is: records, the template that turns a record into text, and label words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from ..errors import UserError, shown
from .column_names import listed
from .label_leaks import says_the_label
from .template_fields import template_fields

END_OF_SEQUENCE = "<end-of-sequence>"
"""Separator that stands for the tokenizer's own end-of-sequence token, whatever its text is."""

ChatTemplate = Literal["off", "user_turn"]
"""Whether prompts are plain text, or one turn of a chat as the tokenizer's chat template writes it."""


@dataclass(frozen=True)
class Record:
    """One labelled item: named text fields and the index of its label.

    Attributes:
        fields: Text by field name, for example `{"text": "a fine film"}`.
        label: Index into the task's label names, 0-based.
        index: Place in the file or source that the record comes from, 0-based; no part of what the record says.
    """

    fields: Mapping[str, str]
    label: int
    index: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Freeze the fields and refuse a negative label."""
        object.__setattr__(self, "fields", MappingProxyType(dict(self.fields)))
        if self.label < 0:
            raise UserError(f"A record has the label {self.label}: labels count from 0.")

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """The fields as sorted pairs: what the record says, without its label."""
        return tuple(sorted(self.fields.items()))

    def __hash__(self) -> int:
        """Hash by content, as equality does; a mapping alone has no hash."""
        return hash((self.texts, self.label))

    def __reduce__(self) -> tuple[type[Record], tuple[dict[str, str], int, int | None]]:
        """Pickle through a plain dict; a read-only mapping cannot be pickled."""
        return Record, (dict(self.fields), self.label, self.index)


@dataclass(frozen=True)
class Template:
    """How a record becomes text: `query` filled with its fields, then `label_prefix` and a label word.

    Attributes:
        name: Name of the variant, for example `dai`.
        query: Text with one `{field}` for every field it uses, for example `Sentence: {text} Label:`.
        label_words: One word for each label, in label order.
        separator: What follows every demonstration: literal text, or `END_OF_SEQUENCE`.
        label_prefix: What stands between the query and the label word.
        chat_template: `user_turn` puts the demonstrations and the query into one user turn; see `Frame`.
        separator_given: Whether the user chose the separator: then one that the tokenizer loses is warned
            about, and otherwise refused.
    """

    name: str
    query: str
    label_words: tuple[str, ...]
    separator: str
    label_prefix: str = " "
    chat_template: ChatTemplate = "off"
    separator_given: bool = False

    def __post_init__(self) -> None:
        """Refuse empty label words and a query that cannot be filled."""
        object.__setattr__(self, "label_words", tuple(self.label_words))
        for label, word in enumerate(self.label_words):
            if not word.strip():
                raise UserError(f"The label word of label {label} is empty: give a word for every label.")
        if not self.fields:
            raise UserError(f"The template {shown(self.query)} names no field: write one, like {{text}}.")

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The field names that the query uses, in order of first use."""
        return template_fields(self.query)

    def check_fields(self, record: Record) -> None:
        """Refuse a record that lacks a field of the query.

        Raises:
            UserError: It names the field and those there are.
        """
        missing = [name for name in self.fields if name not in record.fields]
        if missing:
            raise UserError(
                f"The template {shown(self.query)} needs the field {shown(missing[0])}, and a record has "
                f"{listed(sorted(record.fields))}: map the column to that name."
            )

    def render(self, record: Record) -> str:
        """The text of `record` up to where the label stands."""
        self.check_fields(record)
        return self.query.format(**{name: record.fields[name] for name in self.fields})

    def label_text(self, label: int) -> str:
        """What follows the query for `label`: the prefix and the word.

        Raises:
            UserError: If there is no such label.
        """
        if not 0 <= label < len(self.label_words):
            raise UserError(
                f"There is no label word for the label {label}: the template has {len(self.label_words)} "
                f"({', '.join(self.label_words)})."
            )
        return self.label_prefix + self.label_words[label]


@dataclass(frozen=True, repr=False)
class Task:
    """Named data with a pool of demonstrations, a pool of queries and a template.

    Attributes:
        name: Name of the task.
        label_names: What the labels are called, in label order; not what the model reads.
        train: Records from which demonstrations are drawn.
        validation: Records that are asked; each gets its place here as its index where it has none.
        template: How records become text.
        source: Where the records come from, for the manifest.
        notes: Sentences on how the records were come by that whoever reads the results should know.
    """

    name: str
    label_names: tuple[str, ...]
    train: Sequence[Record]
    validation: Sequence[Record]
    template: Template
    source: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return in one line what it is; its records are not shown."""
        words = ", ".join(self.template.label_words)
        return (
            f"<Task {self.name}: {len(self.train)} train and {len(self.validation)} validation records, "
            f"label words {words}, from {self.source}>"
        )

    def __post_init__(self) -> None:
        """Refuse a pool without records, labels without words, and records the template cannot or may not render."""
        object.__setattr__(self, "label_names", tuple(self.label_names))
        object.__setattr__(self, "train", tuple(self.train))
        object.__setattr__(self, "validation", _with_indices(self.validation))
        words, names = self.template.label_words, self.label_names
        if len(names) < 2:
            raise UserError(f"Task {shown(self.name)} has {len(names)} label(s): a task needs at least two.")
        if len(words) != len(names):
            raise UserError(
                f"Task {shown(self.name)} has {len(names)} labels ({', '.join(names)}) and {len(words)} label "
                f"words ({', '.join(words)}): give one word for each label, in that order."
            )
        for pool_name, pool in (("train", self.train), ("validation", self.validation)):
            if not pool:
                raise UserError(
                    f"Task {shown(self.name)} has no {pool_name} records (source: {self.source}): add some."
                )
            highest = max(record.label for record in pool)
            if highest >= len(names):
                raise UserError(
                    f"Task {shown(self.name)} has a {pool_name} record with the label {highest}, and its labels "
                    f"are 0 to {len(names) - 1} ({', '.join(names)}): correct the record or name the label."
                )
            for record in pool:
                self.template.check_fields(record)
        labels = [record.label for record in self.train]
        for name in self.template.fields:
            if says_the_label([record.fields[name] for record in self.train], labels):
                raise UserError(
                    f"The field {{{name}}} of the template {shown(self.template.query)} has one value for each "
                    "label in "
                    f"the training records of task {shown(self.name)}, so it is the label under another name and "
                    "would "
                    "show the model the right answer: leave it out of the template."
                )

    def source_index(self, place: int) -> int:
        """Where the validation record at `place` stands in the file or source it comes from, 0-based."""
        index = self.validation[place].index
        return place if index is None else index

    def digest(self) -> str:
        """SHA-256 (hex) of all records, the label names and the template, for the manifest."""
        template = self.template
        content = [
            self.label_names,
            [template.query, template.label_words, template.separator, template.label_prefix],
            [[record.texts, record.label] for record in self.train],
            [[record.texts, record.label] for record in self.validation],
        ]
        if template.chat_template != "off":
            content.append(template.chat_template)
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def _with_indices(records: Sequence[Record]) -> tuple[Record, ...]:
    return tuple(
        replace(record, index=place) if record.index is None else record
        for place, record in enumerate(records)
    )
