"""Choosing a learning rate by what it does for labels of held-out training records, and by nothing else.

Never by evaluation queries, which it would be fitted to, and never by similarity, which is what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from ..errors import UserError
from ..tasks.prompt_set import TrainingSequence
from .finetuning import Finetuning
from .held_out import HeldOut
from .loading import LanguageModel
from .rate_search import Progress, RateSearch
from .rate_trial import Trial, mean
from .recipe import Recipe

# 1 and 3 of every power of ten from 1e-5 to 1: half-decades, rounded.
CANDIDATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)


@dataclass(frozen=True)
class LearningRateChoice:
    """Which learning rate was chosen, and how the others did.

    Attributes:
        candidates: The rates tried, ascending.
        held_out_nll: The negative log-likelihood of the held-out labels after finetuning with each; infinite
            where it diverged, NaN where it was stopped because it was behind.
        baseline_nll: The same before any finetuning.
        chosen: The rate with the lowest.
        offered: The rates to choose from, ascending; those that were tried by default.
    """

    candidates: tuple[float, ...]
    held_out_nll: tuple[float, ...]
    baseline_nll: float
    chosen: float
    offered: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check that every candidate has a value and that the chosen one is among them, looked at to the end."""
        if len(self.candidates) != len(self.held_out_nll) or self.chosen not in self.candidates:
            raise ValueError("every candidate needs a held-out value, and the chosen rate is one of them")
        if not self.offered:
            object.__setattr__(self, "offered", self.candidates)
        if not math.isfinite(self.chosen_nll):
            raise ValueError(f"the chosen rate {self.chosen:g} has no held-out value")

    @property
    def chosen_nll(self) -> float:
        """The negative log-likelihood of the held-out labels after finetuning with the chosen rate."""
        return self.held_out_nll[self.candidates.index(self.chosen)]

    @property
    def improves(self) -> bool:
        """Whether finetuning with the chosen rate makes the held-out labels likelier at all."""
        return self.chosen_nll < self.baseline_nll

    @property
    def diverged(self) -> tuple[float, ...]:
        """The rates with which finetuning diverged."""
        return tuple(r for r, nll in zip(self.candidates, self.held_out_nll, strict=True) if math.isinf(nll))

    @property
    def stopped_early(self) -> tuple[float, ...]:
        """The rates that were stopped because they were behind, before every held-out record was looked at."""
        return tuple(r for r, nll in zip(self.candidates, self.held_out_nll, strict=True) if math.isnan(nll))

    def describe(self) -> str:
        """Say in one line what was chosen and why."""
        notes = []
        if len(self.candidates) < len(self.offered):
            notes.append(f"{len(self.candidates)} tried")
        if self.stopped_early:
            notes.append(f"{len(self.stopped_early)} stopped early")
        if self.diverged:
            notes.append(f"{len(self.diverged)} diverged")
        if len(self.offered) > 1 and self.chosen in (min(self.offered), max(self.offered)):
            notes.append("it is at the edge of what was tried")
        if not self.improves:
            notes.append("no rate improved on the model before finetuning")
        return (
            f"learning rate {self.chosen:g}, chosen of {len(self.offered)} from {min(self.offered):g} "
            f"to {max(self.offered):g}: held-out label NLL {self.chosen_nll:.3f}, {self.baseline_nll:.3f} "
            "before finetuning" + "".join(f"; {note}" for note in notes)
        )


def choose_learning_rate(
    model: LanguageModel,
    training: Sequence[TrainingSequence],
    held_out: Sequence[TrainingSequence],
    recipe: Recipe,
    seed: int,
    candidates: Sequence[float] = CANDIDATES,
    progress: Progress | None = None,
    batch_size: int = 8,
) -> LearningRateChoice:
    """Take the candidate after which held-out labels are likeliest; see `search_learning_rate`."""
    choice, _ = search_learning_rate(
        model, training, held_out, recipe, seed, candidates, progress, batch_size, keep=False
    )
    return choice


def search_learning_rate(
    model: LanguageModel,
    training: Sequence[TrainingSequence],
    held_out: Sequence[TrainingSequence],
    recipe: Recipe,
    seed: int,
    candidates: Sequence[float] = CANDIDATES,
    progress: Progress | None = None,
    batch_size: int = 8,
    *,
    keep: bool = True,
) -> tuple[LearningRateChoice, Finetuning | None]:
    """Take the candidate after which held-out labels are likeliest, and the finetuning that was made with it.

    The search leaves out what cannot win, see `RateSearch`; three candidates or fewer are all tried.

    Args:
        model: The model; it is left as it was.
        training: The demonstrations.
        held_out: Other training records in random order, as zero-shot prompts with their labels.
        recipe: How to finetune; its own learning rate is not looked at.
        seed: Seed of the finetuning.
        candidates: The rates to choose from; of equals the smallest is taken.
        progress: Called again and again with how many were tried or begun, how many there are, and the best so far.
        batch_size: Held-out records per forward; changes memory and time only.
        keep: Whether to keep the finetuning of the best candidate, which otherwise is None.

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
    records = HeldOut(model, _labels_in_turn(held_out), recipe, seed, batch_size)
    before = records.nll()
    baseline = mean(before)
    if not math.isfinite(baseline):
        raise UserError(
            f"{model.name!r} finds held-out labels impossible before finetuning (NLL {baseline:g}): load it "
            "in bfloat16 or float32"
        )
    offered = tuple(sorted(candidates))
    search = RateSearch(model, training, records, before, recipe, seed, offered, progress, keep=keep)
    search.run()
    values = {rate: _value(search.trials[rate], len(records)) for rate in sorted(search.trials)}
    best = search.best
    if best is None or not math.isfinite(values[best.rate]):
        raise UserError(
            f"finetuning diverges with every learning rate from {offered[0]:g} to {offered[-1]:g}: try "
            "smaller ones"
        )
    choice = LearningRateChoice(tuple(values), tuple(values.values()), baseline, best.rate, offered)
    return choice, best.finetuning


def _labels_in_turn(sequences: Sequence[TrainingSequence]) -> list[TrainingSequence]:
    """Return sequences in an order in which their labels take turns, so that the first few hold them all.

    On records of one label a rate that says nothing else would look best.
    """
    by_label: dict[tuple[int, ...], list[TrainingSequence]] = {}
    for sequence in sequences:
        by_label.setdefault(sequence.ids[sequence.label_start :], []).append(sequence)
    rounds = zip_longest(*by_label.values())
    return [sequence for turn in rounds for sequence in turn if sequence is not None]


def _value(trial: Trial, records: int) -> float:
    """Return the mean over all held-out records; infinite where it diverged, NaN where not all were looked at."""
    if trial.outcome == "diverged":
        return math.inf
    if len(trial.nll) < records:
        return math.nan
    value = mean(trial.nll)
    return value if math.isfinite(value) else math.inf
