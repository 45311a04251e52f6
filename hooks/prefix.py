"""The shared prefix: demonstrations run once, their keys and values serve every query."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from ..models.loading import LanguageModel
from .computing_dtype import computing_dtype
from .layer_behind_prefix import LayerBehindPrefix
from .prefix_calls import PrefixCalls
from .registry import attend_behind, listen_to_attention


@dataclass(frozen=True)
class Prefix:
    """What a model keeps of a prefix.

    Attributes:
        cache: Keys and values, which forks begin with.
        copied: Why every query gets a copy of them; None where they stand there once for all.
    """

    cache: DynamicCache
    copied: str | None = None


def encode_prefix(model: LanguageModel, ids: tuple[int, ...], *, apart: bool = True) -> Prefix | None:
    """Run a prefix once and return its keys and values, or None where that is not all the model keeps of it.

    Args:
        model: The model.
        ids: The prefix.
        apart: Whether queries may attend to the prefix and to their own tokens apart, where the model's attention
            is one that this is known of.
    """
    tokens = torch.tensor([ids], device=model.device)
    calls, copied = PrefixCalls(), _foreseen(model) if apart else "another engine runs the attention"
    listeners = {part.attention: calls.listen for part in model.parts}
    listening = nullcontext() if copied else listen_to_attention(model.attention_implementation, listeners)
    with torch.no_grad(), listening:
        output = model.module.base_model(
            input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=True
        )
    cache = cache_of(output)
    if not can_fork(cache):
        return None
    copied = copied or calls.why_copied(cache)
    if copied is None:
        cache.layers = [LayerBehindPrefix(layer, calls.module_of(layer)) for layer in cache.layers]
    return Prefix(cache, copied)


def copied_tokens(model: LanguageModel, length: int) -> int:
    """Return how many tokens of a prefix every query gets a copy of, as far as can be told before anything runs.

    Args:
        model: The model.
        length: Tokens of the prefix.
    """
    return 0 if _foreseen(model) is None else length


def _foreseen(model: LanguageModel) -> str | None:
    """Return why queries cannot attend to a prefix apart from own tokens, where the kind of attention tells."""
    if model.family.route != "registry":
        return f"{model.family.label} calls the softmax itself"
    if model.attention_implementation not in ("sdpa", "eager"):
        return f"attention is {model.attention_implementation}"
    if model.attention_implementation == "eager" and computing_dtype(model) in (
        torch.float16,
        torch.bfloat16,
    ):
        # Attention apart does not round them; an expert that is chosen by a hair would be another one.
        return "eager attention rounds its scores in half precision"
    return None


@contextmanager
def attending_behind(model: LanguageModel, cache: Any) -> Iterator[None]:
    """Let a model's forward attend to the prefix of a cache, where that stands there once for all queries.

    Args:
        model: The model.
        cache: What its forward is given as cache.
    """
    layers = {
        layer.attention: layer for layer in getattr(cache, "layers", ()) if type(layer) is LayerBehindPrefix
    }
    if not layers:
        yield
        return
    with attend_behind(model.attention_implementation, layers):
        yield


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
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer, LayerBehindPrefix) for layer in cache.layers
    )


def fork(cache: Any, batch: int | None = None) -> Any:
    """Return a cache that can grow on its own while it shares the tensors of the given one.

    Growing makes new tensors, so the shared ones never change.

    Args:
        cache: A cache of dynamic layers.
        batch: Serve this many prompts with the one prompt that was cached; nothing is copied for it.
    """
    forked = copy.copy(cache)
    forked.layers = [_fork_layer(layer, batch) for layer in cache.layers]
    return forked


def _fork_layer(layer: Any, batch: int | None) -> Any:
    forked = copy.copy(layer)
    if batch is not None and type(layer) is not LayerBehindPrefix:
        forked.keys = layer.keys.expand(batch, -1, -1, -1)
        forked.values = layer.values.expand(batch, -1, -1, -1)
    return forked
