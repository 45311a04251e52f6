"""What enters the first trained layer in each forward of a batch of queries, kept from the first time on.

Label words of several tokens run behind their prompt, on its keys and values. Those of layers that do not run again
are nobody's business then; only how many there are is, for masks and windows go by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..models.loading import LanguageModel
from ..models.partial_forward import PartialForward
from .forward import run_forward
from .prefix import cache_of, can_fork


class KeptStates:
    """Runs a model's forwards, from the second time on without the layers that never change.

    A batch is asked by one forward after another, always the same ones: its prompts, then its label words.
    """

    def __init__(self, model: LanguageModel, layer: int, room: Mapping[int, Tensor]) -> None:
        """Prepare; nothing runs yet.

        Args:
            model: The model.
            layer: The first layer that changes, at least 1.
            room: Where to keep what enters that layer in the first forward of some batches, ``[B, S, d]``.
        """
        self._model, self._layer, self._room = model, layer, dict(room)
        self._partial = PartialForward(model)
        self._states: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._whole: set[int] = set()
        self._place, self._number, self._forks = 0, 0, True

    @contextmanager
    def batch(self, place: int) -> Iterator[None]:
        """Let the forwards inside be those of a batch; what is kept of it counts once all of them have run."""
        self._place, self._number = place, 0
        yield
        self._whole.add(place)

    def forward(
        self,
        tokens: Tensor,
        exists: Tensor,
        *,
        cache: Any = None,
        use_cache: bool = False,
        keep_logits: Tensor | None = None,
    ) -> Any:
        """Run a forward of the batch; arguments are those of `run_forward`."""
        key = (self._place, self._number)
        self._number += 1
        known = self._states.get(key) if self._place in self._whole else None
        options: dict[str, Any] = {"cache": cache, "keep_logits": keep_logits}
        if known is not None and torch.equal(known[0], tokens):
            # Keys and values that cannot serve twice are of no use without those of the layers below.
            options["use_cache"] = use_cache and self._forks
            with self._partial.from_layer(self._layer, known[1]):
                output = run_forward(self._model, tokens, exists, **options)
            if cache is None and options["use_cache"]:
                self._stand_in(cache_of(output), exists)
            return output
        kept: dict[int, Tensor] = {}
        with self._partial.keeping(self._layer, kept, 0):
            output = run_forward(self._model, tokens, exists, use_cache=use_cache, **options)
        if use_cache:
            self._forks = can_fork(cache_of(output))
        self._states[key] = tokens, self._put_away(kept[0])
        return output

    def _put_away(self, states: Tensor) -> Tensor:
        room = self._room.pop(self._place, None) if self._number == 1 else None
        return states if room is None else room.copy_(states)

    def _stand_in(self, cache: Any, exists: Tensor) -> None:
        """Let the layers that did not run hold as many keys and values as the others, of no meaning."""
        nothing = torch.zeros(len(exists), 1, exists.shape[1], 1, device=self._model.device)
        for layer in cache.layers[: self._layer]:
            layer.update(nothing, nothing)
