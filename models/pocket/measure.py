"""Accuracy of a pocket model on a pocket task: zero-shot, with demonstrations, and with permuted labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...seeds import derive_seed
from ...tasks.pocket import POCKET_TASKS, PocketTask, pocket_records
from ...tasks.pocket_language import BEGIN, PAD, VOCABULARY
from ...tasks.task import Record

_IDS: Mapping[str, int] = {token: index for index, token in enumerate(VOCABULARY)}


@dataclass(frozen=True)
class PocketAccuracy:
    """Accuracy over the label words of one pocket task, means over draws of demonstrations.

    Attributes:
        task: Name of the task.
        shots: Demonstrations before each query in the two latter settings.
        chance: One over the number of labels.
        zero_shot: Accuracy on ``<s> query``.
        icl: Accuracy with demonstrations.
        permuted: Accuracy with the same demonstrations, each given a label drawn at random.
    """

    task: str
    shots: int
    chance: float
    zero_shot: float
    icl: float
    permuted: float

    def __post_init__(self) -> None:
        """Check that accuracies are fractions."""
        if not all(0.0 <= value <= 1.0 for value in (self.zero_shot, self.icl, self.permuted)):
            raise ValueError("accuracies lie between 0 and 1")


def pocket_accuracy(
    module: torch.nn.Module, name: str, *, shots: int = 8, draws: int = 4, queries: int = 64, seed: int = 0
) -> PocketAccuracy:
    """Measure one task with whole prompts, one draw of demonstrations shared by all queries of that draw.

    Args:
        module: A pocket model (a causal language model over `VOCABULARY`).
        name: Name of the pocket task.
        shots: Demonstrations a prompt.
        draws: How many draws of demonstrations to average over.
        queries: Validation records asked in each draw.
        seed: Of the draws.
    """
    task, (train, validation) = POCKET_TASKS[name], pocket_records(name)
    gold = torch.tensor([record.label for record in validation[:queries]])
    plain = (_predict(module, task, [], validation[:queries]) == gold).float().mean()
    hits: dict[str, list[float]] = {"icl": [], "permuted": []}
    for draw in range(draws):
        generator = np.random.default_rng(derive_seed("pocket-accuracy", seed, draw))
        chosen = [train[index] for index in generator.permutation(len(train))[:shots]]
        random_labels = generator.integers(len(task.label_names), size=shots).tolist()
        permuted = [Record(old.fields, label) for old, label in zip(chosen, random_labels, strict=True)]
        for setting, demonstrations in (("icl", chosen), ("permuted", permuted)):
            predicted = _predict(module, task, demonstrations, validation[:queries])
            hits[setting].append(float((predicted == gold).float().mean()))
    chance = 1 / len(task.label_names)
    means = {setting: float(np.mean(values)) for setting, values in hits.items()}
    return PocketAccuracy(name, shots, chance, float(plain), means["icl"], means["permuted"])


@torch.no_grad()
def _predict(
    module: torch.nn.Module, task: PocketTask, demonstrations: Sequence[Record], queries: Sequence[Record]
) -> torch.Tensor:
    """Return the predicted label of each query, int64 of shape ``[N]``."""
    prefix = [_IDS[BEGIN]]
    for record in demonstrations:
        prefix += [*_words(task, record), _IDS[task.label_words[record.label]], _IDS[task.separator]]
    rows = [prefix + _words(task, record) for record in queries]
    lengths = torch.tensor([len(row) for row in rows])
    longest = int(lengths.max())
    ids = torch.tensor([row + [_IDS[PAD]] * (longest - len(row)) for row in rows])
    device = next(module.parameters()).device
    logits = module(input_ids=ids.to(device)).logits.float().cpu()
    last = logits[torch.arange(len(rows)), lengths - 1]
    return last[:, [_IDS[word] for word in task.label_words]].argmax(dim=-1)


def _words(task: PocketTask, record: Record) -> list[int]:
    return [_IDS[word] for word in task.query.format(**record.fields).split()]
