"""What in-context learning gives on training records that are not shown: what finetuning may be asked to imitate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..errors import UserError, shown
from ..tasks.prompt_set import TrainingSequence
from .recipe import Recipe


@dataclass(frozen=True, eq=False)
class IclTargets:
    """Training records, and what the pretrained model gives on each behind the demonstrations of one draw.

    Attributes:
        sequences: The N records as zero-shot prompts with their labels; the labels are no part of what is imitated.
        attention_output: ICL's attention outputs at the last prompt token, ``[N, L, d]``; None where only answers
            are imitated.
        change: How far they lie from the zero-shot ones: the mean over records of the squared distance, ``[L]``;
            None likewise.
        logprobs: ICL's log-probability of each next token, ``[N, V]``; None where only the inside is imitated.
    """

    sequences: tuple[TrainingSequence, ...]
    attention_output: Tensor | None = None
    change: Tensor | None = None
    logprobs: Tensor | None = None

    def __post_init__(self) -> None:
        """Check that there is one row a record."""
        for rows in (self.attention_output, self.logprobs):
            if rows is not None and len(rows) != len(self.sequences):
                raise ValueError(f"{len(self.sequences)} records have {len(rows)} targets")

    @cached_property
    def _places(self) -> dict[TrainingSequence, int]:
        return {sequence: place for place, sequence in enumerate(self.sequences)}

    def places(self, sequences: Sequence[TrainingSequence]) -> Tensor:
        """Return which rows belong to some of the records, ``[B]``.

        Raises:
            UserError: If one of them is no record of these targets.
        """
        if any(sequence not in self._places for sequence in sequences):
            raise UserError(
                "a training sequence has no target of ICL: train on the sequences of the targets (targets.sequences)"
            )
        return torch.tensor([self._places[sequence] for sequence in sequences])


def check_targets(recipe: Recipe, targets: IclTargets | None) -> None:
    """Refuse a recipe that imitates ICL without what it imitates, and targets for one that does not.

    Raises:
        UserError: If a recipe and targets do not belong together.
    """
    wanted = {"text": (), "match_icl": ("attention_output", "change"), "distill_icl": ("logprobs",)}
    missing = [name for name in wanted[recipe.objective] if getattr(targets, name, None) is None]
    if missing:
        raise UserError(
            f"recipe {shown(recipe.name)} imitates ICL and was given no {missing[0]} of it: run it in compare or "
            "controls, or give targets"
        )
    if recipe.objective == "text" and targets is not None:
        raise UserError(
            f"recipe {shown(recipe.name)} learns a text and imitates no ICL: leave targets out, or take match_icl or "
            "distill_icl"
        )
