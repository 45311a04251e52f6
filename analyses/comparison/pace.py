"""How long forwards take on this machine, from a few that are timed."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from ...hooks.forward import run_forward
from ...models.loading import LanguageModel

_FEW, _MANY = (1, 16), (4, 32)


@dataclass(frozen=True)
class Pace:
    """The time of a forward: so much each, and so much for each token and for each position with logits.

    Attributes:
        forward: Seconds of a forward, whatever its size.
        token: Seconds of a token in it.
        logits: Seconds of the logits of one position.
    """

    forward: float
    token: float
    logits: float

    def seconds(self, forwards: float, tokens: float, logits: float) -> float:
        """Return how long so many forwards take, with so many tokens and positions with logits in all of them."""
        return forwards * self.forward + tokens * self.token + logits * self.logits


def measure_pace(model: LanguageModel) -> Pace:
    """Time a short forward, a longer one, and one with all logits."""
    _timed(model, _MANY, 1)
    few, many, all_logits = (
        _timed(model, _FEW, 1),
        _timed(model, _MANY, 1),
        _timed(model, _MANY, _MANY[1]),
    )
    few_tokens, many_tokens = (rows * columns for rows, columns in (_FEW, _MANY))
    token = max(0.0, many - few) / (many_tokens - few_tokens)
    logits = max(0.0, all_logits - many) / (many_tokens - _MANY[0])
    return Pace(max(0.0, few - few_tokens * token), token, logits)


def _timed(model: LanguageModel, shape: tuple[int, int], kept: int) -> float:
    tokens = torch.ones(*shape, dtype=torch.long)
    places = torch.arange(shape[1] - kept, shape[1]).expand(shape[0], -1)
    _wait(model)
    start = time.perf_counter()
    run_forward(model, tokens, torch.ones_like(tokens, dtype=torch.bool), keep_logits=places)
    _wait(model)
    return time.perf_counter() - start


def _wait(model: LanguageModel) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()
