"""Training sequences behind layers that finetuning never changes: what enters the first trained layer is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ..tasks.prompt_set import TrainingSequence
from .loading import LanguageModel
from .partial_forward import PartialForward
from .recipe import Recipe
from .token_loss import LossBatch, forward_groups, loss_batch

# Padded batches of a few sequences are small; shuffled epochs could make any number of them.
_MOST_BATCHES = 256


class FrozenLayers:
    """Padded batches of training sequences, and the hidden states that enter the first trained layer.

    The states of a sequence are computed once, whatever batch it comes in, and serve all epochs.

    Attributes:
        first: The first layer that training changes.
        partial: Runs parts of the model.
    """

    def __init__(self, model: LanguageModel, first: int, recipe: Recipe) -> None:
        """Prepare; nothing but a single token runs yet.

        Args:
            model: The model.
            first: The first layer, counted from 0, that training changes.
            recipe: It says where the loss is taken, and over what.
        """
        self.first, self.partial = first, PartialForward(model)
        self._model, self._recipe = model, recipe
        self._batches: dict[tuple[TrainingSequence, ...], LossBatch] = {}
        self._states: dict[TrainingSequence, Tensor] = {}

    def batches(self, sequences: Sequence[TrainingSequence], size: int) -> Iterator[LossBatch]:
        """Yield sequences as padded batches of at most so many, each rotated as its sequences are alone."""
        for places in forward_groups(self._model, [len(sequence.ids) for sequence in sequences], size):
            yield self.batch([sequences[place] for place in places])

    def batch(self, sequences: Sequence[TrainingSequence]) -> LossBatch:
        """Return sequences as a padded batch, the same one for the same sequences."""
        key = tuple(sequences)
        if key not in self._batches:
            if len(self._batches) >= _MOST_BATCHES:
                self._batches.clear()
            self._batches[key] = loss_batch(
                self._model, sequences, self._recipe.loss_tokens, self._recipe.loss_vocabulary
            )
        return self._batches[key]

    def entering(self, batch: LossBatch) -> Tensor:
        """Return what enters the first trained layer, ``[B, S, d]``; padding holds zeros."""
        if any(sequence not in self._states for sequence in batch.sequences):
            with torch.no_grad():
                hidden = self.partial.hidden_entering(self.first, batch.inputs)
            for sequence, states in zip(batch.sequences, hidden, strict=True):
                self._states[sequence] = states[: len(sequence.ids)].clone()
        states = [self._states[sequence] for sequence in batch.sequences]
        return torch.nn.utils.rnn.pad_sequence(states, batch_first=True)

    def running(self, batch: LossBatch) -> AbstractContextManager[None]:
        """Let the model's forwards on a batch begin at the first trained layer."""
        return nullcontext() if self.first == 0 else self.partial.from_layer(self.first, self.entering(batch))
