"""One candidate in a search for a learning rate: what was seen of it, and what that says of smaller rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from .finetuning import Finetuning

Outcome = Literal["ran", "diverged", "stopped"]

# A training loss that rises by more than this share from one epoch to the next is not going down smoothly.
_RISE = 0.02


@dataclass(eq=False)
class Trial:
    """A candidate.

    Attributes:
        rate: The learning rate.
        steps_an_epoch: Steps that an epoch takes.
        first_loss: The training loss before the first step; None is that of the first step.
        outcome: Whether it ran to its end, diverged, or was stopped because it was behind.
        losses: The training loss before each step.
        seen: The held-out NLL of the first records after some epochs on the way.
        nll: The held-out NLL of the records looked at so far, after the last epoch.
        finetuning: The run that ended, of the best candidate so far and of one that is compared with it.
    """

    rate: float
    steps_an_epoch: int
    first_loss: float | None = None
    outcome: Outcome = "ran"
    losses: list[float] = field(default_factory=list)
    seen: dict[int, list[float]] = field(default_factory=dict)
    nll: list[float] = field(default_factory=list)
    finetuning: Finetuning | None = None

    @property
    def epoch_losses(self) -> list[float]:
        """The mean training loss of each whole epoch."""
        size = self.steps_an_epoch
        return [
            mean(self.losses[start : start + size]) for start in range(0, len(self.losses) - size + 1, size)
        ]

    @property
    def smooth_epochs(self) -> int:
        """How many epochs the training loss went down without rising in between."""
        losses = self.epoch_losses
        if not losses:
            return 0
        # Where an epoch takes several steps, only the next one's mean tells where it ended.
        losses = [losses[0] if self.first_loss is None else self.first_loss, *losses]
        rises = (i for i in range(1, len(losses)) if losses[i] > losses[i - 1] * (1 + _RISE))
        return max(0, next(rises, len(losses)) - 2)

    def predicts(self, rate: float, epochs: int, before: Sequence[float]) -> tuple[float, int] | None:
        """Return what a smaller rate is expected to reach, from where this one was when it had gone as far.

        As long as the loss goes down smoothly, steps follow the gradient flow, on which T epochs with a third of the
        rate lead where T / 3 epochs lead with the whole. Less than one epoch is interpolated from the start.

        Args:
            rate: The smaller rate.
            epochs: The epochs of the recipe, T.
            before: The held-out NLL of the records before finetuning.

        Returns:
            The mean held-out NLL and over how many of the first records; None where this trial cannot tell.
        """
        reached = epochs * rate / self.rate
        at = 1 if reached < 1 else min(self.seen, key=lambda epoch: abs(epoch - reached), default=0)
        if at not in self.seen or at > self.smooth_epochs:
            return None
        start, seen = mean(before[: len(self.seen[at])]), mean(self.seen[at])
        return start + (seen - start) * min(1.0, reached), len(self.seen[at])


def mean(values: Sequence[float]) -> float:
    """Return the mean, added up without rounding."""
    return math.fsum(values) / len(values)


def lead(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Return by how much the first is lower on the same records, and the standard error of that."""
    differences = torch.tensor(other, dtype=torch.float64) - torch.tensor(one, dtype=torch.float64)
    error = (
        differences.std() / math.sqrt(len(differences)) if len(differences) > 1 else torch.tensor(math.inf)
    )
    return float(differences.mean()), float(error)
