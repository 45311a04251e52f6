"""Leave queries out that also stand in the training records, so that none is answered from memory."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ..errors import UserError, shown
from .task import Task


class UnseenQueries(NamedTuple):
    """A task without the queries that its training records hold, and how many those were."""

    task: Task
    removed: int


def without_seen_queries(task: Task) -> UnseenQueries:
    """Leave out the validation records whose rendered text is that of a training record, whatever its label.

    Raises:
        UserError: When no validation record is left.
    """
    seen = {task.template.render(record) for record in task.train}
    kept = tuple(record for record in task.validation if task.template.render(record) not in seen)
    if not kept:
        raise UserError(
            f"Every one of the {len(task.validation)} validation records of task {shown(task.name)} also stands in "
            "its "
            "training records: give other records to ask."
        )
    if len(kept) == len(task.validation):
        return UnseenQueries(task, 0)
    return UnseenQueries(replace(task, validation=kept), len(task.validation) - len(kept))
