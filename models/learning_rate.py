"""Choosing a learning rate by what it does for labels of held-out training records, and by nothing else.

Never by evaluation queries, which it would be fitted to, and never by similarity, which is what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import UserError
from ..tasks.prompt_set import TrainingSequence
from .finetuning import FinetuningDiverged, finetune
from .loading import LanguageModel
from .recipe import Recipe
from .token_loss import label_nll

# 1 and 3 of every power of ten from 1e-5 to 1: half-decades, rounded.
CANDIDATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)


@dataclass(frozen=True)
class LearningRateChoice:
    """Which learning rate was chosen, and how the others did.

    Attributes:
        candidates: The rates tried.
        held_out_nll: The negative log-likelihood of the held-out labels after finetuning with each; infinite
            where it diverged.
        baseline_nll: The same before any finetuning.
        chosen: The rate with the lowest.
    """

    candidates: tuple[float, ...]
    held_out_nll: tuple[float, ...]
    baseline_nll: float
    chosen: float

    def __post_init__(self) -> None:
        """Check that every candidate has a value and that the chosen one is among them."""
        if len(self.candidates) != len(self.held_out_nll) or self.chosen not in self.candidates:
            raise ValueError("every candidate needs a held-out value, and the chosen rate is one of them")

    @property
    def chosen_nll(self) -> float:
        """The negative log-likelihood of the held-out labels after finetuning with the chosen rate."""
        return self.held_out_nll[self.candidates.index(self.chosen)]

    @property
    def improves(self) -> bool:
        """Whether finetuning with the chosen rate makes the held-out labels likelier at all."""
        return self.chosen_nll < self.baseline_nll

    def describe(self) -> str:
        """Say in one line what was chosen and why."""
        diverged = sum(map(math.isinf, self.held_out_nll))
        notes = [f"{diverged} diverged"] if diverged else []
        if len(self.candidates) > 1 and self.chosen in (min(self.candidates), max(self.candidates)):
            notes.append("it is at the edge of what was tried")
        if not self.improves:
            notes.append("no rate improved on the model before finetuning")
        return (
            f"learning rate {self.chosen:g}, chosen of {len(self.candidates)} from {min(self.candidates):g} "
            f"to {max(self.candidates):g}: held-out label NLL {self.chosen_nll:.3f}, {self.baseline_nll:.3f} "
            "before finetuning" + "".join(f"; {note}" for note in notes)
        )


def choose_learning_rate(
    model: LanguageModel,
    training: Sequence[TrainingSequence],
    held_out: Sequence[TrainingSequence],
    recipe: Recipe,
    seed: int,
    candidates: Sequence[float] = CANDIDATES,
    progress: Callable[[int, int, float], None] | None = None,
) -> LearningRateChoice:
    """Finetune with every candidate and take the one after which held-out labels are likeliest.

    Args:
        model: The model; it is left as it was.
        training: The demonstrations.
        held_out: Other training records, as zero-shot prompts with their labels.
        recipe: How to finetune; its own learning rate is not looked at.
        seed: Seed of the finetuning.
        candidates: The rates to try, ascending; of equals the first is taken.
        progress: Called after each candidate with how many are done, how many there are and its value.

    Raises:
        UserError: If there is nothing held out, or every candidate diverges.
    """
    if not held_out:
        raise UserError(
            "a learning rate is chosen on held-out training records and there are none: leave some out of "
            "the demonstrations, or give a number"
        )
    if not candidates:
        raise UserError("there are no learning rates to choose from: give at least one candidate")
    baseline = label_nll(model, held_out)
    if not math.isfinite(baseline):
        raise UserError(
            f"{model.name!r} finds held-out labels impossible before finetuning (NLL {baseline:g}): load it "
            "in bfloat16 or float32"
        )
    values: list[float] = []
    for rate in candidates:
        values.append(_held_out_nll(model, training, held_out, recipe, seed, rate))
        if progress is not None:
            progress(len(values), len(candidates), values[-1])
    best = min(values)
    if math.isinf(best):
        raise UserError(
            f"finetuning diverges with every learning rate from {candidates[0]:g} to {candidates[-1]:g}: try "
            "smaller ones"
        )
    return LearningRateChoice(tuple(candidates), tuple(values), baseline, candidates[values.index(best)])


def _held_out_nll(
    model: LanguageModel,
    training: Sequence[TrainingSequence],
    held_out: Sequence[TrainingSequence],
    recipe: Recipe,
    seed: int,
    rate: float,
) -> float:
    """Return the held-out value after finetuning with one rate, infinite where it diverges."""
    try:
        finetuning = finetune(model, training, recipe, learning_rate=rate, seed=seed)
    except FinetuningDiverged:
        return math.inf
    with finetuning.delta.applied(model):
        value = label_nll(model, held_out)
    return value if math.isfinite(value) else math.inf
