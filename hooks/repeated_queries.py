"""The same queries asked again and again while a model is finetuned: by epoch, rate, order and recipe.

Where only layers from some layer on are trained, what enters that layer never changes: it is kept from the first
time on, and the layers below do not run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ..models.exclusive_use import exclusive
from ..models.free_memory import free_memory
from ..models.loading import LanguageModel
from ..models.partial_forward import PartialForward
from ..models.token_loss import evaluation_mode
from ..tasks.prompts import PromptSet
from .prompt_run import NextToken, answer_batch, batches_of, prepare_run, prompt_batch
from .scoring import Scoring
from .storage import allocate_scratch

# Hidden states may take this share of the free memory; beyond it every layer runs each time.
_SHARE_OF_MEMORY = 0.25


class RepeatedQueries:
    """Queries, tokenised and batched once, that a changing model is asked many times.

    Attributes:
        keeps: Whether hidden states are kept: not where every layer changes, where label words of several
            tokens need the lower layers' keys and values, or where they would take too much memory.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: PromptSet,
        *,
        first_trained_layer: int = 0,
        batch_size: int | str = "auto",
        scoring: Scoring = "mean",
    ) -> None:
        """Prepare the batches; nothing runs yet.

        Args:
            model: The model.
            prompts: Zero-shot prompts.
            first_trained_layer: The lowest layer, counted from 0, that changes between two times of asking.
            batch_size: Prompts at once, or ``auto`` to size batches to memory.
            scoring: How label words of several tokens are scored: ``mean`` per token, ``sum`` or ``first``.

        Raises:
            UserError: If a prompt does not fit the context window, or has a token that the model does not know.
        """
        self._run = prepare_run(model, prompts, share_prefix=False, scoring=scoring)
        self._batches = [prompt_batch(self._run, indices) for indices in batches_of(self._run, batch_size)]
        self._layer = first_trained_layer
        tokens = sum(batch.tokens.numel() for batch in self._batches)
        size = tokens * model.width * model.dtype.itemsize
        fits = size <= _SHARE_OF_MEMORY * free_memory(model.device)
        alone = first_trained_layer > 0 and not self._run.continues and not model.family.shares_keys
        self.keeps = alone and fits
        self._partial = PartialForward(model) if self.keeps else None
        self._hidden: dict[int, Tensor] = {}
        self._room: dict[str, Tensor] = {}
        if self.keeps and model.device.type == "cpu":
            # In a file where they are large.
            self._room = allocate_scratch(
                {
                    str(place): ((*batch.tokens.shape, model.width), model.dtype)
                    for place, batch in enumerate(self._batches)
                }
            )

    def ask(self) -> Iterator[tuple[Tensor, NextToken]]:
        """Ask all queries of the model as it now is.

        Yields:
            The indices of the prompts of each batch, ``[B]``, and what the model says next to them.

        Raises:
            UserError: If another thread uses the model.
        """
        module = self._run.model.module
        with exclusive(module, "asking queries"), evaluation_mode(module), torch.no_grad():
            for place, batch in enumerate(self._batches):
                with self._lower_layers(place):
                    said = answer_batch(self._run, batch)
                self._put_away(place)
                yield batch.indices, said

    def _put_away(self, place: int) -> None:
        room = self._room.pop(str(place), None)
        if room is not None:
            self._hidden[place] = room.copy_(self._hidden[place])

    def _lower_layers(self, place: int) -> AbstractContextManager[None]:
        if self._partial is None:
            return nullcontext()
        if place in self._hidden:
            return self._partial.from_layer(self._layer, self._hidden[place])
        return self._partial.keeping(self._layer, self._hidden, place)
