"""What one attention call is given, as those who listen to it see it and may change it, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .layer_behind_prefix import LayerBehindPrefix
from .written_rows import WrittenRows

# Given the call's result; returns what shall stand in its place.
AfterCall = Callable[[Any], Any]


@dataclass
class AttentionArguments:
    """One call of a whole attention function; whoever listens later sees what was put here before.

    Attributes:
        module: The attention module.
        query: ``[B, H, S, D]``, after rotary embedding.
        key: ``[B, Hkv, K, D]``, with the cache; behind a shared prefix those of own tokens alone.
        value: Likewise.
        mask: What it is given as mask.
        options: Its other arguments, by transformers' names.
        heads_first: Whether the result is ``[B, H, S, D]``, and not a tuple that begins with ``[B, S, H, D]``.
        written: Rows that are another softmax's than that of queries and keys.
        prefix: Keys and values of a shared prefix, which stand before those of every query.
    """

    module: torch.nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Any
    options: dict[str, Any]
    heads_first: bool = False
    written: list[WrittenRows] = field(default_factory=list)
    prefix: LayerBehindPrefix | None = None

    @property
    def past(self) -> int:
        """Keys of the shared prefix."""
        return 0 if self.prefix is None else self.prefix.prefix_keys.shape[-2]

    def all_values(self) -> Tensor:
        """Return the values with those of the prefix before them, ``[B, Hkv, P + K, D]``."""
        if self.prefix is None:
            return self.value
        shared = self.prefix.prefix_values.expand(len(self.value), -1, -1, -1)
        return torch.cat([shared, self.value], dim=-2)


@dataclass
class SoftmaxArguments:
    """One softmax of an attention module that calls it itself.

    Attributes:
        scores: What it is given, ``[B, H, S, K]`` or ``[B*H, S, K]``.
        mask: The attention module's own mask.
        written: Rows whose pattern is another than that of the scores.
    """

    scores: Tensor
    mask: Tensor | None
    written: list[WrittenRows] = field(default_factory=list)
