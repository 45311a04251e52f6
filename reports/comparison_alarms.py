"""What must be read before any number of a comparison: where there is nothing to compare."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..analyses.comparison.draw import Draw, Setting

# Losses over the same demonstrations differ by so much, relatively, from rounding alone.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Alarm:
    """One thing that must be read first.

    Attributes:
        sounds: Whether it is so in a draw.
        one: The sentence for a draw, given what names the draw where there are several.
        several: What is said once for all rows of a table that it holds in.
    """

    sounds: Callable[[Draw], bool]
    one: Callable[[Draw, str], str]
    several: str


def changed_by_finetuning(draw: Draw) -> int:
    """Return how many predictions finetuning changed."""
    return int((draw.answers["ft"].prediction != draw.answers["zsl"].prediction).sum())


def icl_is_no_better(draw: Draw) -> bool:
    """Return whether ICL has no more queries right, over the label set, than zero-shot; as many is no better."""
    return _right(draw, "icl") <= _right(draw, "zsl")


def loss_rose(draw: Draw) -> bool:
    """Return whether the loss over the demonstrations was higher after finetuning than before it."""
    run = draw.finetuned.finetuning
    return run is not None and not run.final_loss <= run.first_loss * (1 + _ROUNDING)


def _right(draw: Draw, setting: Setting) -> int:
    return int(draw.answers[setting].correct.sum())


def _no_better(draw: Draw, where: str) -> str:
    icl, zero_shot = _right(draw, "icl"), _right(draw, "zsl")
    return (
        f"ICL is not better than zero-shot{where}: {icl} against {zero_shot} of {len(draw.gold)} right over the "
        "label set, so there is no learning in context to compare finetuning with"
    )


def _unchanged(draw: Draw, where: str) -> str:
    finetuning = draw.finetuned.finetuning
    how = f" and learning rate {finetuning.learning_rate:g}" if finetuning else ""
    return (
        f"finetuning changed no prediction{where}: with {draw.finetuned.source}{how} every one of "
        f"{len(draw.gold)} is that of zero-shot, so the overlap of changes says nothing about finetuning"
    )


def _rose(draw: Draw, where: str) -> str:
    run = draw.finetuned.finetuning
    first, final = (math.nan, math.nan) if run is None else (run.first_loss, run.final_loss)
    return (
        f"the training loss rose{where}, from {first:.3f} to {final:.3f}: finetuning did not learn the "
        "demonstrations, so take a smaller learning rate"
    )


ALARMS = (
    Alarm(
        lambda draw: not changed_by_finetuning(draw),
        _unchanged,
        "finetuning changed no prediction, so the overlap of changes says nothing about it",
    ),
    Alarm(
        icl_is_no_better,
        _no_better,
        "ICL is not better than zero-shot, so there is no learning in context to compare finetuning with",
    ),
    Alarm(loss_rose, _rose, "the training loss rose, so finetuning did not learn the demonstrations"),
)
