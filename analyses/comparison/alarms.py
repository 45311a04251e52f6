"""What must be read before any number of a finetuning: it changed nothing, or there was nothing to learn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ...study.names import LOSS_ROSE, NO_CHANGE, NO_LEARNING

# Losses over the same demonstrations differ by so much, relatively, from rounding alone.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Outcome:
    """What one finetuning did, beside what demonstrations in context did.

    Attributes:
        source: The recipe's name, or what somebody else finetuned.
        learning_rate: The learning rate; NaN where somebody else finetuned.
        first_loss: Loss over the demonstrations before the first update.
        final_loss: The same after the last one.
        queries: How many queries were asked.
        changed: Of how many the finetuned model answers otherwise than zero-shot.
        zero_shot_right: Right answers over the label set, zero-shot.
        icl_right: The same in context.
    """

    source: str
    learning_rate: float
    first_loss: float
    final_loss: float
    queries: int
    changed: int
    zero_shot_right: int
    icl_right: int


def alarms_of(outcomes: Mapping[int, Outcome]) -> Iterator[tuple[str, int, str]]:
    """Yield what must be read first: the alarm's name, the seed of the draw, a sentence.

    Args:
        outcomes: One a draw, by its seed.
    """
    for name, alarm in _ALARMS.items():
        for seed, outcome in outcomes.items():
            sentence = alarm(outcome, f" in the draw of seed {seed}" if len(outcomes) > 1 else "")
            if sentence:
                yield name, seed, sentence


def _unchanged(outcome: Outcome, where: str) -> str:
    if outcome.changed:
        return ""
    rate = outcome.learning_rate
    how = "" if math.isnan(rate) else f" and learning rate {rate:g}"
    return (
        f"finetuning changed no prediction{where}: with {outcome.source}{how} every one of "
        f"{outcome.queries} is that of zero-shot, so the overlap of changes says nothing about finetuning"
    )


def _no_better(outcome: Outcome, where: str) -> str:
    # As many right is no better.
    if outcome.icl_right > outcome.zero_shot_right:
        return ""
    return (
        f"ICL is not better than zero-shot{where}: {outcome.icl_right} against {outcome.zero_shot_right} of "
        f"{outcome.queries} right over the label set, so there is no learning in context to compare finetuning with"
    )


def _rose(outcome: Outcome, where: str) -> str:
    first, final = outcome.first_loss, outcome.final_loss
    if math.isnan(outcome.learning_rate) or final <= first * (1 + _ROUNDING):
        return ""
    return (
        f"the training loss rose{where}, from {first:.3f} to {final:.3f}: finetuning did not learn the "
        "demonstrations, so take a smaller learning rate"
    )


_ALARMS: Mapping[str, Callable[[Outcome, str], str]] = {
    NO_CHANGE: _unchanged,
    NO_LEARNING: _no_better,
    LOSS_ROSE: _rose,
}
