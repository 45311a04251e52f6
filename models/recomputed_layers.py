"""Layers whose inner activations are computed again in the backward pass, so that they need not be kept for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from .exclusive_use import exclusive
from .loading import LanguageModel


def can_recompute(model: LanguageModel) -> bool:
    """Tell whether a layer may run twice: not where layers hand keys and values on to others beside their output."""
    return not model.family.shares_keys


@contextmanager
def recomputed(model: LanguageModel, first: int) -> Iterator[None]:
    """Let layers from some layer on keep for the backward pass nothing but what enters them.

    Each runs once more when its gradients are due, on the same numbers, so gradients are the same; what listens to
    modules inside of a layer hears that run, too.

    Args:
        model: The model.
        first: The first such layer.
    """
    changed: list[tuple[torch.nn.Module, Any]] = []
    with exclusive(model.module, "computing activations again"):
        try:
            for layer in model.layers[first:]:
                changed.append((layer, layer.__dict__.get("forward")))
                layer.forward = _recomputing(layer.forward)
            yield
        finally:
            for layer, earlier in changed:
                if earlier is None:
                    del layer.forward
                else:
                    layer.forward = earlier


def _recomputing(forward: Callable[..., Any]) -> Callable[..., Any]:
    # Dropout is off while a model trains here, so there is no state of a generator to go back to.
    return partial(checkpoint, forward, use_reentrant=False, preserve_rng_state=False)
