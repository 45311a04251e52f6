"""What one layer keeps of the tokens behind a shared prefix, whose own keys and values stand beside it once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


class LayerBehindPrefix(DynamicLayer):
    """Gives attention the own tokens' keys and values alone, and tells the lengths of a cache that holds all.

    It keeps all own tokens; what a window hides of them the mask says.

    Attributes:
        attention: The attention module that reads it.
        prefix_keys: ``[1, Hkv, P, D]``; of a layer with a window the latest alone.
        prefix_values: Likewise.
        seen: Tokens of the whole prefix.
        window: Tokens that the layer sees at most; None without a window.
        is_sliding: Whether it has one, as transformers asks for it.
    """

    def __init__(self, layer: DynamicLayer, attention: torch.nn.Module) -> None:
        """Stand behind what a layer kept of the prefix."""
        super().__init__()
        assert layer.keys is not None and layer.values is not None
        self.attention = attention
        self.prefix_keys, self.prefix_values = layer.keys, layer.values
        self.seen = layer.get_seq_length()
        self.window = layer.sliding_window if isinstance(layer, DynamicSlidingWindowLayer) else None
        self.is_sliding = layer.is_sliding

    @property
    def sees_whole_prefix(self) -> bool:
        """Whether each of the own tokens there are sees all of the prefix."""
        return self.window is None or self.get_seq_length() <= self.window

    def gave(self, key: Tensor, value: Tensor) -> bool:
        """Tell whether attention was given the own keys and values as they are kept here."""
        return all(
            kept is not None and given.data_ptr() == kept.data_ptr() and given.shape == kept.shape
            for given, kept in ((key, self.keys), (value, self.values))
        )

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Keep further own tokens and return those there are."""
        if self.keys is None or self.values is None:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
            self.keys, self.values = key_states, value_states
        else:
            self.keys = torch.cat([self.keys, key_states], dim=-2)
            self.values = torch.cat([self.values, value_states], dim=-2)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Return how many tokens there are, those of the prefix included."""
        return self.seen + (0 if self.keys is None else self.keys.shape[-2])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many keys a mask for further tokens is about, and the place of the first."""
        first = self.seen - self.prefix_keys.shape[-2]
        return self.get_seq_length() - first + query_length, first
