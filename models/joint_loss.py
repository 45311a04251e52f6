"""The model's own loss on demonstrations, and its gradient with respect to everything that is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from ..tasks.prompt_set import TrainingSequence
from .frozen_layers import FrozenLayers
from .loading import LanguageModel
from .parameters import TrainedSlice, lowest_layer
from .recipe import Recipe
from .token_loss import loss_token_count, nll_of_logits
from .trained_copies import TrainedCopies

# Takes indices of slices, their gradients and the loss that they are of, and makes the step.
Apply = Callable[[Sequence[int], Sequence[Tensor], float], None]

# In fp16 a gradient vanishes below 6e-8 and overflows above 65504; where a scale overflows the next is taken.
_FP16_LOSS_SCALES = (256.0, 16.0, 1.0)


class JointLoss:
    """The mean negative log-likelihood over the loss tokens of a batch.

    Attributes:
        watched_gradients: Of the latest step: the gradient of each watched parameter, by name.
    """

    def __init__(
        self,
        model: LanguageModel,
        trained: TrainedCopies,
        recipe: Recipe,
        forward_size: int,
        watched: Mapping[str, TrainedSlice] = MappingProxyType({}),
    ) -> None:
        """Prepare.

        Args:
            model: The model, which holds the trained copies while a step is taken.
            trained: What is trained.
            recipe: How.
            forward_size: Demonstrations per forward.
            watched: Further parameters, or rows of them, whose gradients are wanted.
        """
        self._model, self._trained, self._recipe, self._forward_size = model, trained, recipe, forward_size
        self._watched = dict(watched)
        self._watched_parameters = [model.module.get_parameter(piece.name) for piece in watched.values()]
        # Layers that take keys and values of layers below need these to run.
        whole = bool(watched) or model.family.shares_keys
        self._frozen = FrozenLayers(model, 0 if whole else lowest_layer(trained.layers), recipe)
        self._scales = loss_scales(model)
        self.watched_gradients: Mapping[str, Tensor] = {}

    def step(self, demonstrations: Sequence[TrainingSequence], apply: Apply) -> float:
        """Take one step and return the loss before it."""
        loss, gradients = math.nan, []
        for scale in self._scales:
            loss, gradients = self._gradients(demonstrations, scale)
            if scale == self._scales[-1] or not math.isfinite(loss) or all_finite(gradients):
                break
        apply(range(len(gradients)), gradients, loss)
        return loss

    def value(self, demonstrations: Sequence[TrainingSequence]) -> float:
        """Return the loss as the model now is."""
        sums = []
        with torch.no_grad():
            for batch in self._frozen.batches(demonstrations, self._forward_size):
                with self._frozen.running(batch):
                    logits = self._model.module(**batch.inputs).logits
                sums.append(nll_of_logits(logits, batch).sum().item())
        return math.fsum(sums) / self._n_tokens(demonstrations)

    def _gradients(
        self, demonstrations: Sequence[TrainingSequence], scale: float
    ) -> tuple[float, list[Tensor]]:
        """Return the loss of a batch and the gradient of every trained slice, added up over forwards."""
        n_tokens = self._n_tokens(demonstrations)
        loss = 0.0
        sums: list[Tensor] = []
        others: dict[str, Tensor] = {}
        parameters = [*self._trained.parameters, *self._watched_parameters]
        for batch in self._frozen.batches(demonstrations, self._forward_size):
            with self._frozen.running(batch):
                logits = self._model.module(**batch.inputs).logits
            part_loss = nll_of_logits(logits, batch).sum() / n_tokens
            loss += part_loss.item()
            gradients = torch.autograd.grad(
                part_loss * scale, parameters, allow_unused=True, materialize_grads=True
            )
            own = [
                self._trained.read(index, gradient)
                if scale == 1
                else self._trained.read(index, gradient) / scale
                for index, gradient in enumerate(gradients[: len(self._trained.slices)])
            ]
            sums = [total + one for total, one in zip(sums, own, strict=True)] if sums else own
            add_watched(others, self._watched, gradients[len(own) :], 1 / scale)
        self.watched_gradients = others
        return loss, sums

    def _n_tokens(self, demonstrations: Sequence[TrainingSequence]) -> int:
        return sum(loss_token_count(sequence, self._recipe.loss_tokens) for sequence in demonstrations)


def add_watched(
    totals: dict[str, Tensor], watched: Mapping[str, TrainedSlice], gradients: Sequence[Tensor], factor: float
) -> None:
    """Add the watched part of each gradient, in fp32, to what there is of it."""
    for (name, piece), gradient in zip(watched.items(), gradients, strict=True):
        part = piece.read(gradient).float() * factor
        totals[name] = totals[name] + part if name in totals else part


def loss_scales(model: LanguageModel) -> tuple[float, ...]:
    """Return the factors on the loss to try in turn, so that fp16 gradients neither vanish nor overflow."""
    half = any(parameter.dtype == torch.float16 for parameter in model.module.parameters())
    return _FP16_LOSS_SCALES if half else (1.0,)


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Return whether no tensor holds NaN or infinity."""
    # One look at the largest absolute value of all of them: NaN comes through, and tiny tensors cost one call.
    largest = torch.nn.utils.get_total_norm([t.detach() for t in tensors], norm_type=math.inf)
    return bool(torch.isfinite(largest))
