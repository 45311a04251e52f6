"""What one loss gives to training: its value and gradients, at a scale at which the gradients are finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .loading import LanguageModel
from .parameters import TrainedSlice
from .undefined_entries import all_finite

# In fp16 a gradient vanishes below 6e-8 and overflows above 65504; where a scale overflows the next is taken.
_FP16_LOSS_SCALES = (256.0, 16.0, 1.0)


@dataclass
class LossStep:
    """What one loss gives, added up over forwards.

    Attributes:
        loss: Its value.
        gradients: Of every trained slice.
        watched: Of further parameters that are only looked at, by name.
        outputs: What the forwards hand on, where something runs behind them.
    """

    loss: float = 0.0
    gradients: list[Tensor] = field(default_factory=list)
    watched: dict[str, Tensor] = field(default_factory=dict)
    outputs: list[Tensor] = field(default_factory=list)

    def add_watched(
        self, watched: Mapping[str, TrainedSlice], gradients: Sequence[Tensor], factor: float
    ) -> None:
        """Add the watched part of each gradient, in fp32, to what there is of it."""
        for (name, piece), gradient in zip(watched.items(), gradients, strict=True):
            part = piece.read(gradient).float() * factor
            self.watched[name] = self.watched[name] + part if name in self.watched else part


def loss_scales(model: LanguageModel) -> tuple[float, ...]:
    """Return the factors on the loss to try in turn, so that fp16 gradients neither vanish nor overflow."""
    half = any(parameter.dtype == torch.float16 for parameter in model.module.parameters())
    return _FP16_LOSS_SCALES if half else (1.0,)


def at_largest_scale(scales: Sequence[float], scaled: Callable[[float], LossStep]) -> LossStep:
    """Return the step at the first of these scales at which all is finite, or at the last.

    A loss that is not finite itself is so at every scale: no other is tried.
    """
    *larger, last = scales
    for scale in larger:
        done = scaled(scale)
        if not math.isfinite(done.loss) or all_finite(done.gradients):
            return done
    return scaled(last)
