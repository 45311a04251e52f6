"""Held-out training records, batched once, whose labels a changing model is asked for again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ..tasks.prompt_set import TrainingSequence
from .frozen_layers import FrozenLayers
from .loading import LanguageModel
from .parameters import first_trained_layer
from .recipe import Recipe
from .token_loss import check_sequences, evaluation_mode, loss_of, loss_token_count

# A batch ends before more than this share of it would be padding.
_PADDING = 0.2


class HeldOut:
    """Records as zero-shot prompts with their labels, in the order in which they are looked at.

    Layers below the first trained one run once, whatever the number of candidates.
    """

    def __init__(
        self,
        model: LanguageModel,
        sequences: Sequence[TrainingSequence],
        recipe: Recipe,
        seed: int,
        batch_size: int = 8,
    ) -> None:
        """Prepare; only a single token runs yet.

        Args:
            model: The model.
            sequences: N records, in random order.
            recipe: How the model is finetuned, which says what layers never change.
            seed: Seed of the finetuning.
            batch_size: Sequences per forward; changes memory and time only.

        Raises:
            UserError: If there is no sequence, or one does not fit the model.
        """
        check_sequences(model, sequences)
        self._model, self._sequences = model, tuple(sequences)
        self._size = batch_size if model.family.pads else 1
        label = recipe.model_copy(update={"loss_tokens": "label", "loss_vocabulary": "full"})
        self._frozen = FrozenLayers(model, first_trained_layer(model, recipe, seed), label)

    def __len__(self) -> int:
        """Return how many records there are, N."""
        return len(self._sequences)

    def nll(self, start: int = 0, stop: int | None = None) -> list[float]:
        """Return how unlikely the model, as it now is, finds the labels of records `start` to `stop`.

        Returns:
            For each record the mean negative log-likelihood over the tokens of its label, in nats.
        """
        part = self._sequences[start:stop]
        order = sorted(range(len(part)), key=lambda index: len(part[index].ids))
        values = [0.0] * len(part)
        with evaluation_mode(self._model.module), torch.no_grad():
            for indices in runs_alike([len(sequence.ids) for sequence in part], order, self._size):
                batch = self._frozen.batch([part[index] for index in indices])
                with self._frozen.running(batch):
                    sums = loss_of(self._model, batch).tolist()
                for index, value in zip(indices, sums, strict=True):
                    values[index] = value / loss_token_count(part[index], "label")
        return values


def runs_alike(lengths: Sequence[int], order: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yield consecutive runs of an ascending order, at most so many long, in which little is padding."""
    run: list[int] = []
    for index in order:
        real, padded = sum(lengths[i] for i in run) + lengths[index], (len(run) + 1) * lengths[index]
        if run and (len(run) == size or padded - real > _PADDING * padded):
            yield run
            run = []
        run.append(index)
    yield run
