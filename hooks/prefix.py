"""The shared prefix: demonstrations run once, their keys and values serve every query."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from ..models.loading import LanguageModel
from .forward import check_tokens


def encode_prefix(model: LanguageModel, ids: tuple[int, ...]) -> DynamicCache | None:
    """Run a prefix once and return its keys and values, or None where the model keeps no such cache.

    Args:
        model: The model.
        ids: The prefix.
    """
    tokens = torch.tensor([ids], device=model.device)
    check_tokens(model, tokens)
    with torch.no_grad():
        output = model.module.base_model(
            input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=True
        )
    cache = getattr(output, "past_key_values", None)
    shareable = isinstance(cache, DynamicCache) and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers
    )
    return cache if shareable else None


def fork(cache: Any, batch: int | None = None) -> Any:
    """Return a cache that can grow on its own while it shares the tensors of the given one.

    Growing concatenates into new tensors, so the shared ones never change.

    Args:
        cache: A cache of dynamic layers.
        batch: Serve this many prompts with the one prompt that was cached; nothing is copied for it.
    """
    forked = copy.copy(cache)
    forked.layers = [_fork_layer(layer, batch) for layer in cache.layers]
    return forked


def _fork_layer(layer: Any, batch: int | None) -> Any:
    forked = copy.copy(layer)
    if batch is not None:
        forked.keys = layer.keys.expand(batch, -1, -1, -1)
        forked.values = layer.values.expand(batch, -1, -1, -1)
    return forked


def keep_prompts(cache: Any, indices: Tensor) -> Any:
    """Return a fork of a cache that holds some of its prompts."""
    forked = fork(cache)
    for layer in forked.layers:
        layer.keys, layer.values = layer.keys[indices], layer.values[indices]
    return forked
