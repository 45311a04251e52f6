"""A draw of demonstrations with other labels, or with other words for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...errors import UserError
from ...seeds import derive_seed
from ...tasks.task import Record, Task
from ..cell import Cell, cell_of
from ..subject import Subject
from .config import LabelsConfig, VariantName


def variant_subject(config: LabelsConfig, subject: Subject, variant: VariantName) -> Subject:
    """Return the model and the task as a variant asks it: with words that mean nothing for ``abstract``.

    Raises:
        UserError: If there is not one abstract word for each label.
    """
    if variant != "abstract":
        return subject
    task = subject.task
    words = config.abstract_words or _letters(len(task.label_names))
    if len(words) != len(task.label_names):
        raise UserError(
            f"there are {len(words)} abstract words ({', '.join(words[:6])}) and {len(task.label_names)} labels: "
            "give one for each (--abstract-words)"
        )
    return replace(subject, task=replace(task, template=replace(task.template, label_words=words)))


def variant_cell(config: LabelsConfig, subject: Subject, cell: Cell, variant: VariantName) -> Cell:
    """Return a draw under a variant: the same records in the same order, and the same queries.

    Args:
        config: The study.
        subject: The model, and the task as the variant asks it, see `variant_subject`.
        cell: The draw with gold labels.
        variant: Which.

    Raises:
        UserError: If prompts cannot be built, or other words leave room for other demonstrations or queries.
    """
    if variant == "gold":
        return cell
    used = cell.prompts.demonstrations_used
    options = len(subject.task.label_names)
    shown, others = cell.demonstrations[:used], cell.demonstrations[used:]
    if variant == "random":
        seed = derive_seed("random labels", cell.seed)
        relabelled = (
            *at_chance(shown, options, seed),
            *at_chance(others, options, derive_seed("left out", seed)),
        )
    elif variant == "flipped":
        relabelled = tuple(
            replace(record, label=flipped(record.label, options)) for record in cell.demonstrations
        )
    else:
        relabelled = cell.demonstrations
    made = cell_of(config, subject.model, subject.task, cell.seed, relabelled, cell.queries)
    if (made.prompts.demonstrations_used, made.queries) != (used, cell.queries):
        raise UserError(
            f"with {variant} labels other demonstrations or queries fit the context: ask for fewer shots, or leave "
            "long records out (--max-record-tokens)"
        )
    return made


def flipped(label: int, options: int) -> int:
    """Return the next label, the first after the last: with two labels the other one."""
    return (label + 1) % options


def at_chance(records: Sequence[Record], options: int, seed: int) -> tuple[Record, ...]:
    """Return records with random labels of which as many are right as chance gives, N / C rounded.

    As if labels were drawn uniformly again and again until exactly so many are right: those that are right are any,
    and each of the others has any wrong label.

    Args:
        records: N records.
        options: How many labels there are, C.
        seed: Seed of the draw.
    """
    generator = np.random.default_rng(seed)
    right = set(generator.permutation(len(records))[: round(len(records) / options)].tolist())
    steps = generator.integers(1, options, size=len(records)).tolist()
    return tuple(
        record if place in right else replace(record, label=(record.label + steps[place]) % options)
        for place, record in enumerate(records)
    )


def right_labels(cell: Cell, gold: Cell) -> int:
    """Return how many demonstrations of a draw that are shown have the label that they have in another."""
    pairs = zip(cell.demonstrations, gold.demonstrations, strict=True)
    used = cell.prompts.demonstrations_used
    return sum(one.label == other.label for one, other in list(pairs)[:used])


def _letters(count: int) -> tuple[str, ...]:
    """Return A, B, …, and behind Z A1, B1 and so on."""
    return tuple(
        chr(ord("A") + place % 26) + (str(place // 26) if place >= 26 else "") for place in range(count)
    )


def checked_words(config: LabelsConfig, task: Task) -> tuple[str, ...]:
    """Return the words that ``abstract`` asks for, as the study keeps them."""
    return config.abstract_words or _letters(len(task.label_names))
