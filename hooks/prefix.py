"""The shared prefix: demonstrations run once, their keys and values serve every query."""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from ..models.loading import LanguageModel


def encode_prefix(model: LanguageModel, ids: tuple[int, ...]) -> DynamicCache | None:
    """Run a prefix once and return its keys and values, or None where that is not all the model keeps of it.

    Args:
        model: The model.
        ids: The prefix.
    """
    tokens = torch.tensor([ids], device=model.device)
    with torch.no_grad():
        output = model.module.base_model(
            input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=True
        )
    cache = cache_of(output)
    return cache if can_fork(cache) else None


def cache_name(names: Container[str]) -> str:
    """Return what a forward or its output calls keys and values: transformers renamed them in 5.24.

    Args:
        names: The names of its arguments or fields.
    """
    return "cache" if "cache" in names else "past_key_values"


def cache_of(output: Any) -> Any:
    """Return the keys and values that a forward's output holds, or None."""
    return getattr(output, "cache" if hasattr(output, "cache") else "past_key_values", None)


def can_fork(cache: Any) -> bool:
    """Tell whether a cache holds keys and values alone, which grow into new tensors.

    A recurrent or convolution state (Falcon-H1 and other hybrids) is overwritten by whatever runs next, and of a
    class that is not known here nothing is known: what stands behind such a prompt has to run with all of it.
    """
    return type(cache) is DynamicCache and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers
    )


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
