"""A task of the user's own: records, a template's text and label words, and which of them is missing."""

from __future__ import annotations

from typing import Any

from ..errors import UserError, shown
from .entry import TaskEntry
from .given_label_words import LabelWords
from .task import END_OF_SEQUENCE, Template

OWN_TASK = "own"
"""What a task is called that has data of its own and no name."""


def own_entry(name: str, template: str, words: LabelWords) -> TaskEntry:
    """The catalogue's row of a task that is not in the catalogue.

    Args:
        name: What the user calls it.
        template: The template's text.
        words: Its labels are the values that a mapping names; words in a list name the labels themselves.
    """
    label_names = tuple(words)
    label_words = tuple(words.values()) if isinstance(words, dict) else words
    return TaskEntry(name, label_names, (Template("custom", template, label_words, END_OF_SEQUENCE),))


def require_own(
    name: str, template: str | None, words: LabelWords | None, data: Any
) -> tuple[str, LabelWords]:
    """The template's text and the label words of a task that is not in the catalogue.

    Raises:
        UserError: When one of the three things that make a task is missing; it names the first.
    """
    subject = "Your data" if name == OWN_TASK else f"The task {name!r}, which is not in the catalogue,"
    if template is None:
        raise UserError(
            f"{subject} has no template: give its text with your columns in braces, as in "
            "--template 'Review: {text} Sentiment:' (template=…), or name a task of the catalogue (iclprobe tasks)."
        )
    if "{" not in template:
        raise UserError(
            f"{subject} has no template called {shown(template)}: give its text with your columns in braces, as in "
            "--template 'Review: {text} Sentiment:' (template=…)."
        )
    if words is None:
        raise UserError(
            f"{subject} has no label words: give one for each value of the label's column, as in "
            "--label-words '0=bad,1=good' (label_words={0: 'bad', 1: 'good'})."
        )
    if data is None:
        raise UserError(
            f"{subject} has no data: give a file, or a folder with train and validation files, as in "
            "--data reviews.csv (data=…)."
        )
    return template, words
