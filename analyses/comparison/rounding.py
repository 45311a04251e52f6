"""Up to which length a change is only rounding, in one comparison: what probes are told of dtype and positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...hooks.capture import capture
from ...hooks.captured import Capture
from ...models.loading import LanguageModel
from ...probes import (
    Floor,
    Floors,
    SimAOU,
    below_noise,
    noise_floor,
    score_floors,
    score_noise_floor,
)
from ...tasks.prompts import PromptSet
from ..configuration import MeasuringConfig
from .draw import NoiseFloor

# How many queries the repeated zero-shot run of half precision takes.
_REPEATED_QUERIES = 32


@dataclass(frozen=True)
class RepeatedRun:
    """How far the zero-shot setting, run again in other batches, differs from itself.

    Attributes:
        outputs: Largest difference of the normalised attention output, ``[L]``.
        scores: Largest root mean square of the difference of a row of scores, ``[L, H]``.
    """

    outputs: Tensor
    scores: Tensor


@dataclass(frozen=True)
class ChangeFloors:
    """Up to which length the changes from zero-shot are only rounding.

    Attributes:
        outputs: Of normalised attention outputs.
        scores: Root mean square over columns, of attention scores, ``[L, H]``.
    """

    outputs: Floors
    scores: Floors


def repeat_zero_shot(
    config: MeasuringConfig, model: LanguageModel, prompts: PromptSet, zero_shot: Capture
) -> RepeatedRun | None:
    """Run part of the zero-shot setting again, one prompt at a time, and see how far it differs from itself.

    Only in half precision, where other batches give other roundings; None in full precision.
    """
    if model.dtype not in (torch.float16, torch.bfloat16):
        return None
    indices = torch.arange(min(prompts.n, _REPEATED_QUERIES))
    few = PromptSet(
        prompts.prefix_ids,
        prompts.query_ids[: len(indices)],
        prompts.label_ids[: len(indices)],
        prompts.gold[: len(indices)],
        prompts.bos_length,
    )
    again = capture(model, few, config.plan, batch_size=1, scoring=config.scoring, engine=config.engine)
    first, width = zero_shot.select(indices), again.columns.shape[-1]
    assert first.attention_output is not None and again.attention_output is not None
    assert first.scores is not None and again.scores is not None
    return RepeatedRun(
        noise_floor(first.attention_output, again.attention_output),
        score_noise_floor(first.scores[..., :width], again.scores, again.columns, again.visible),
    )


def change_floors(zero_shot: Capture, icl: Capture, repeated: RepeatedRun | None) -> ChangeFloors:
    """Return up to which length what ICL and finetuning change is only rounding.

    The floor of the dtype that the model computed in, for ICL with its later positions, or what repeating the
    zero-shot run changes where that is more.

    Args:
        zero_shot: The zero-shot setting, whole.
        icl: The in-context setting, whole.
        repeated: The zero-shot setting run again, in half precision.
    """
    assert zero_shot.scores is not None and zero_shot.visible is not None
    relative = Floors.of(getattr(torch, zero_shot.manifest["dtype"]), last_position(zero_shot, icl))
    scores = score_floors(zero_shot.scores, zero_shot.columns, floors=relative, visible=zero_shot.visible)
    if repeated is None:
        return ChangeFloors(relative, scores)
    return ChangeFloors(_at_least(relative, repeated.outputs), _at_least(scores, repeated.scores))


def last_position(zero_shot: Capture, icl: Capture) -> int:
    """Return the last position that a query reaches, if it stands at other positions than zero-shot; else 0."""
    prefix = icl.manifest["prefix_tokens"]
    return 0 if prefix == zero_shot.manifest["prefix_tokens"] else prefix + zero_shot.columns.shape[-1]


def _at_least(floors: Floors, measured: Tensor) -> Floors:
    def larger(floor: Floor) -> Tensor:
        return torch.maximum(torch.as_tensor(floor, dtype=measured.dtype), measured)

    return Floors(larger(floors.icl), larger(floors.ft))


def noise_of(repeated: RepeatedRun | None, result: SimAOU) -> NoiseFloor | None:
    """Return which updates are no larger than what repeating the zero-shot run changes, where it was repeated."""
    if repeated is None:
        return None
    norms = (result.update_norms_icl, result.update_norms_ft)
    below = (below_noise(each, repeated.outputs).double().mean(dim=0) for each in norms)
    return NoiseFloor(repeated.outputs, *below)
