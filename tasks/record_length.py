"""Leave long records out of a task, so that demonstrations fit a short context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ..errors import UserError, shown
from .encoding import encode
from .task import Record, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class FilteredTask(NamedTuple):
    """A task without its long records, and how many were left out of each pool."""

    task: Task
    train_removed: int
    validation_removed: int


def filter_long_records(task: Task, tokenizer: PreTrainedTokenizerBase, limit: int) -> FilteredTask:
    """Leave out the records whose rendered query has more than `limit` tokens.

    Counted are the template's text and the record's, without label, separator and begin-of-sequence.

    Raises:
        UserError: When no train or no validation record is left.
    """
    if limit < 1:
        raise UserError(f"Records of at most {limit} tokens do not exist: give at least 1.")
    train = _short_records(task, "train", task.train, tokenizer, limit)
    validation = _short_records(task, "validation", task.validation, tokenizer, limit)
    return FilteredTask(
        replace(task, train=train, validation=validation),
        len(task.train) - len(train),
        len(task.validation) - len(validation),
    )


def _short_records(
    task: Task, pool: str, records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, limit: int
) -> tuple[Record, ...]:
    lengths = [len(ids) for ids in encode(tokenizer, [task.template.render(record) for record in records])]
    if min(lengths) > limit:
        raise UserError(
            f"No {pool} record of task {shown(task.name)} has {limit} tokens or fewer: the shortest has "
            f"{min(lengths)}; allow more."
        )
    return tuple(record for record, length in zip(records, lengths, strict=True) if length <= limit)
