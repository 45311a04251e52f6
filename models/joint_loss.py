"""The model's own loss on demonstrations, and its gradient with respect to everything that is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType

import torch
from torch import Tensor

from ..tasks.prompt_set import TrainingSequence
from .frozen_layers import FrozenLayers
from .loading import LanguageModel
from .loss_step import LossStep, at_largest_scale, loss_scales
from .parameters import TrainedSlice, lowest_layer
from .recipe import Recipe
from .recomputed_layers import recomputed
from .token_loss import loss_of, loss_token_count
from .trained_copies import TrainedCopies

# Takes indices of slices, their gradients and the loss that they are of, and makes the step.
Apply = Callable[[Sequence[int], Sequence[Tensor], float], None]


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
        *,
        recompute: bool = False,
    ) -> None:
        """Prepare.

        Args:
            model: The model, which holds the trained copies while a step is taken.
            trained: What is trained.
            recipe: How.
            forward_size: Demonstrations per forward.
            watched: Further parameters, or rows of them, whose gradients are wanted.
            recompute: Whether layers' activations are computed again in the backward pass rather than kept.
        """
        self._model, self._trained, self._recipe, self._forward_size = model, trained, recipe, forward_size
        self._watched = dict(watched)
        self._watched_parameters = [model.module.get_parameter(piece.name) for piece in watched.values()]
        # Layers that take keys and values of layers below need these to run.
        whole = bool(watched) or model.family.shares_keys
        self._frozen = FrozenLayers(model, 0 if whole else lowest_layer(trained.layers), recipe)
        self._recompute = recompute
        self._scales = loss_scales(model)
        self.watched_gradients: Mapping[str, Tensor] = {}

    def step(self, demonstrations: Sequence[TrainingSequence], apply: Apply) -> float:
        """Take one step and return the loss before it."""
        done = at_largest_scale(self._scales, lambda scale: self._scaled_step(demonstrations, scale))
        self.watched_gradients = done.watched
        apply(range(len(done.gradients)), done.gradients, done.loss)
        return done.loss

    def value(self, demonstrations: Sequence[TrainingSequence]) -> float:
        """Return the loss as the model now is."""
        sums = []
        with torch.no_grad():
            for batch in self._frozen.batches(demonstrations, self._forward_size):
                with self._frozen.running(batch):
                    sums.append(loss_of(self._model, batch).sum().item())
        return math.fsum(sums) / self._n_tokens(demonstrations)

    def _scaled_step(self, demonstrations: Sequence[TrainingSequence], scale: float) -> LossStep:
        """Return the loss of a batch and the gradient of every trained slice, added up over forwards."""
        n_tokens = self._n_tokens(demonstrations)
        done = LossStep()
        parameters = [*self._trained.parameters, *self._watched_parameters]
        for batch in self._frozen.batches(demonstrations, self._forward_size):
            with self._frozen.running(batch), self._recomputed():
                loss = loss_of(self._model, batch).sum() / n_tokens
            done.loss += loss.item()
            gradients = list(torch.autograd.grad(loss * scale, parameters, materialize_grads=True))
            done.add_watched(self._watched, gradients[len(self._trained.slices) :], 1 / scale)
            del gradients[len(self._trained.slices) :]
            for index, gradient in enumerate(_taken(gradients)):
                own = self._trained.read(index, gradient)
                own = own if scale == 1 else own / scale
                if index < len(done.gradients):
                    done.gradients[index] = done.gradients[index] + own
                else:
                    done.gradients.append(own)
        return done

    def _recomputed(self) -> AbstractContextManager[None]:
        return recomputed(self._model, self._frozen.first) if self._recompute else nullcontext()

    def _n_tokens(self, demonstrations: Sequence[TrainingSequence]) -> int:
        return sum(loss_token_count(sequence, self._recipe.loss_tokens) for sequence in demonstrations)


def _taken(tensors: list[Tensor]) -> Iterator[Tensor]:
    """Yield tensors in their order, none of which the list holds any longer."""
    tensors.reverse()
    while tensors:
        yield tensors.pop()
