"""A draw of demonstrations with one thing about its context changed, for controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...errors import UserError, shown
from ...models.loading import LanguageModel
from ...seeds import derive_seed
from ...tasks.catalogue import load_task, task_entry, task_names
from ...tasks.demonstrations import draw_demonstrations
from ...tasks.prompts import shown_demonstrations
from ...tasks.spans import CONTEXT, Span
from ...tasks.task import Record, Task
from ..cell import Cell, cell_of
from ..configuration import SubjectConfig


def with_permuted_labels(config: SubjectConfig, model: LanguageModel, task: Task, cell: Cell) -> Cell:
    """Return a draw whose demonstrations have each other's labels, in context and for finetuning.

    The labels are another sequence than before wherever the demonstrations have more than one label. Those in the
    context and those that did not fit are permuted each among themselves.

    Args:
        config: What is run.
        model: The model.
        task: The task.
        cell: The draw.
    """
    used = cell.prompts.demonstrations_used
    shown, others = cell.demonstrations[:used], cell.demonstrations[used:]
    seed = derive_seed("permuted labels", cell.seed)
    permuted = (*_permuted(shown, seed), *_permuted(others, derive_seed("left out", seed)))
    return cell_of(config, model, task, cell.seed, permuted)


def changed_labels(before: Cell, after: Cell) -> int:
    """Return how many demonstrations of a draw have another label than those of the other."""
    pairs = zip(before.demonstrations, after.demonstrations, strict=True)
    return sum(one.label != other.label for one, other in pairs)


def _permuted(records: Sequence[Record], seed: int) -> tuple[Record, ...]:
    labels = [record.label for record in records]
    generator = np.random.default_rng(seed)
    permuted = labels
    while permuted == labels and len(set(labels)) > 1:
        permuted = [labels[place] for place in generator.permutation(len(labels))]
    return tuple(replace(record, label=label) for record, label in zip(records, permuted, strict=True))


def with_shuffled_prefix(cell: Cell) -> Cell:
    """Return a draw whose context holds the same tokens in random order.

    A begin-of-sequence token, or the head of a chat's user turn, stays in front.
    """
    front, body = _front_and_body(cell)
    order = np.random.default_rng(derive_seed("shuffled prefix", cell.seed)).permutation(len(body))
    return _with_prefix(cell, (*front, *(body[place] for place in order)))


def with_other_task(cell: Cell, model: LanguageModel, other: Task) -> Cell:
    """Return a draw whose context is as long, in tokens, and made of another task's demonstrations.

    As many are drawn as it takes, over again where there are too few; what is too much is cut off at the front, so
    that the context ends with a whole demonstration.

    Args:
        cell: The draw.
        model: The model.
        other: The other task; its demonstrations stand in a chat's user turn where the draw's do.
    """
    front, own = _front_and_body(cell)
    length = len(own)
    template = replace(other.template, chat_template=cell.prompts.chat_template)
    body: tuple[int, ...] = ()
    count = len(cell.demonstrations)
    while len(body) < length:
        count = min(count, len(other.train))
        drawn = draw_demonstrations(other, count, cell.seed)
        shown = shown_demonstrations(model.require_tokenizer(), template, drawn)
        body = tuple(token for each in shown for token in each.ids)
        if count == len(other.train):
            body *= -(-length // len(body))
        count *= 2
    return _with_prefix(cell, front + body[len(body) - length :])


def _front_and_body(cell: Cell) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what stands in front of every prompt, and the rest of the context."""
    front = cell.prompts.zero_shot.prefix_ids
    return front, cell.prompts.icl.prefix_ids[len(front) :]


def _with_prefix(cell: Cell, prefix: tuple[int, ...]) -> Cell:
    front = cell.prompts.zero_shot
    context = Span(CONTEXT, len(front.prefix_ids), len(prefix))
    icl = replace(cell.prompts.icl, prefix_ids=prefix, prefix_spans=(*front.prefix_spans, context))
    return replace(cell, prompts=replace(cell.prompts, icl=icl, shown=()))


def next_task_without_network(task: Task) -> Task:
    """Return the task after one in the catalogue that makes its own records and has none of its labels.

    Raises:
        UserError: If there is none.
    """
    names = task_names()
    start = names.index(task.name) + 1 if task.name in names else 0
    for name in (*names[start:], *names[:start]):
        entry = task_entry(name)
        if entry.records is not None and not set(entry.label_names) & set(task.label_names):
            return load_task(name)
    raise UserError(
        f"no task of the catalogue that needs no network has other labels than {shown(task.name)}: name the other "
        "task "
        "with other_task (--other-task)"
    )
