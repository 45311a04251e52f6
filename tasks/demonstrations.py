"""Which training records are shown, which are held out, and which records are asked.

One drawn tuple, in one order, serves in-context learning and finetuning alike: the reference draws two orders
from one stream, so that its finetuning order differs from its in-context order (definitions D5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy

from ..errors import UserError, shown
from ..seeds import derive_seed
from .task import Record, Task


def draw_demonstrations(
    task: Task, shots: int, seed: int, balanced: bool = False, order: int | None = None
) -> tuple[Record, ...]:
    """Draw `shots` training records without replacement.

    The first four of eight demonstrations are the four that `shots=4` draws with the same seed (unbalanced).

    Args:
        task: Where to draw from.
        shots: How many, at least 1.
        seed: Seed of the draw.
        balanced: Take as evenly from every label as the records allow; both papers draw unbalanced.
        order: Seed of an order: the same records, permuted. None keeps the order in which they were drawn.

    Returns:
        The records in the order in which they are to be shown and trained on.

    Raises:
        UserError: If `shots` is below 1, or there are not so many training records.
    """
    if shots < 1:
        raise UserError(
            f"Cannot draw {shots} demonstrations: with none there is nothing to learn; ask for 1."
        )
    if shots > len(task.train):
        raise UserError(
            f"Task {shown(task.name)} has {len(task.train)} training records and {shots} demonstrations were "
            "asked for: ask for fewer, or give more records."
        )
    generator = _generator("demonstrations", task.name, seed)
    shuffled = generator.permutation(len(task.train)).tolist()
    chosen = _balanced(task, shuffled, shots, generator) if balanced else shuffled[:shots]
    if order is not None:
        places = _generator("demonstration order", order).permutation(shots)
        chosen = [chosen[place] for place in places]
    return tuple(task.train[index] for index in chosen)


def held_out_records(
    task: Task,
    used: Sequence[Record],
    count: int,
    seed: int,
    missing: str = "to choose a learning rate on: give more records, or name the learning rate",
) -> tuple[Record, ...]:
    """Training records whose text is not among the demonstrations, such as for choosing a learning rate.

    Args:
        task: Where to draw from; its validation records are never touched.
        used: The demonstrations.
        count: How many records at most; fewer come back where there are no more.
        seed: Seed of the draw.
        missing: What they are for and what to do where there is none, as the error says it.

    Raises:
        UserError: If there is no other record.
    """
    if count < 1:
        raise UserError(f"Cannot hold out {count} records: ask for at least 1.")
    used_texts = {record.texts for record in used}
    free = [record for record in task.train if record.texts not in used_texts]
    if not free:
        raise UserError(
            f"Task {shown(task.name)} has no training record besides its {len(used)} demonstrations {missing}."
        )
    places = _generator("held out", task.name, seed).permutation(len(free))[:count]
    return tuple(free[place] for place in places)


def choose_queries(task: Task, limit: int | None = None, seed: int = 1) -> tuple[int, ...]:
    """Indices of the validation records to ask, in file order.

    With a limit they are drawn at random, because files may be sorted by label. The reference takes the first
    2,000 after a shuffle with seed 1 (definitions 3.2).
    """
    total = len(task.validation)
    if limit is None:
        return tuple(range(total))
    if limit < 1:
        raise UserError(f"Cannot limit the queries to {limit}: ask for at least 1.")
    drawn = _generator("queries", task.name, seed).permutation(total)[:limit]
    return tuple(sorted(drawn.tolist()))


def _balanced(task: Task, shuffled: list[int], shots: int, generator: numpy.random.Generator) -> list[int]:
    """Deal out one record of each label in turn until there are enough; then shuffle.

    The labels take turns in random order, so that no label is always the one that gets a record more.
    """
    by_label: list[list[int]] = [[] for _ in task.label_names]
    for index in shuffled:
        by_label[task.train[index].label].append(index)
    turns = [by_label[label] for label in generator.permutation(len(by_label))]
    chosen: list[int] = []
    while len(chosen) < shots:
        for remaining in turns:
            if remaining and len(chosen) < shots:
                chosen.append(remaining.pop(0))
    return [chosen[place] for place in generator.permutation(shots)]


def _generator(*names: str | int) -> numpy.random.Generator:
    return numpy.random.default_rng(derive_seed("tasks", *names))
