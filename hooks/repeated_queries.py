"""The same queries asked again and again while a model is finetuned: by epoch, rate, order and recipe.

Where only layers from some layer on are trained, what enters that layer never changes: it is kept from the first
time on, and the layers below do not run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from ..models.exclusive_use import exclusive
from ..models.free_memory import free_memory
from ..models.loading import LanguageModel
from ..models.token_loss import evaluation_mode
from ..tasks.prompts import PromptSet
from .kept_states import KeptStates
from .prompt_run import NextToken, PromptBatch, answer_batch, batches_of, prepare_run, prompt_batch
from .scoring import Scoring
from .storage import allocate_scratch

# Hidden states may take this share of the free memory; beyond it every layer runs each time.
_SHARE_OF_MEMORY = 0.25


class RepeatedQueries:
    """Queries, tokenised and batched once, that a changing model is asked many times.

    Attributes:
        keeps: Whether hidden states are kept: not where every layer changes, where layers take keys and values of
            those below, or where they would take too much memory.
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
        options = len(prompts.label_ids[0]) if prompts.label_ids else 0
        run = prepare_run(model, prompts, share_prefix=False, scoring=scoring)
        batches = [prompt_batch(run, indices) for indices in batches_of(run, batch_size)]
        # Where keys and values cannot be used again, every option runs behind its whole prompt.
        tokens = sum(batch.tokens.numel() for batch in batches) * (1 + options * run.continues)
        fits = tokens * model.width * model.dtype.itemsize <= _SHARE_OF_MEMORY * free_memory(model.device)
        self.keeps = first_trained_layer > 0 and fits and not model.family.shares_keys
        self._states = None
        if self.keeps:
            self._states = KeptStates(model, first_trained_layer, _room(model, batches))
            run = replace(run, forward=self._states.forward)
        self._run, self._batches = run, batches

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
                with nullcontext() if self._states is None else self._states.batch(place):
                    said = answer_batch(self._run, batch)
                yield batch.indices, said


def _room(model: LanguageModel, batches: Sequence[PromptBatch]) -> dict[int, Tensor]:
    """Return where to keep hidden states of prompts: in a file where they are large."""
    if model.device.type != "cpu":
        return {}
    shapes = {
        str(place): ((*batch.tokens.shape, model.width), model.dtype) for place, batch in enumerate(batches)
    }
    return {int(place): room for place, room in allocate_scratch(shapes).items()}
