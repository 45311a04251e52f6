"""Whether queries may attend to a prefix and to their own tokens apart: what the prefix's attention calls tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .attention_arguments import AttentionArguments


@dataclass(frozen=True)
class _Call:
    module: torch.nn.Module
    key: Tensor
    value: Tensor
    mask: Any
    unlike: str | None


class PrefixCalls:
    """Hears the attention calls of a prefix's forward, and tells which cached layer each of them read."""

    def __init__(self) -> None:
        """Begin with no call."""
        self._calls: dict[int, _Call] = {}

    def listen(self, call: AttentionArguments) -> None:
        """Note one call."""
        unlike = None
        if isinstance(call.options.get("position_bias"), Tensor):
            unlike = "adds a position bias inside its attention function"
        elif call.options.get("is_causal") is False:
            unlike = "is not causal"
        self._calls[_place(call.key)] = _Call(call.module, call.key, call.value, call.mask, unlike)

    def module_of(self, layer: Any) -> torch.nn.Module:
        """Return the attention module that read a cached layer."""
        return self._calls[_place(layer.keys)].module

    def why_copied(self, cache: Any) -> str | None:
        """Return why attention cannot be given the prefix apart from own tokens; None if every layer can."""
        causal: dict[int, bool] = {}
        for index, layer in enumerate(cache.layers):
            call = self._calls.get(_place(layer.keys))
            if call is None or not (_is_kept(call.key, layer.keys) and _is_kept(call.value, layer.values)):
                return f"layer {index} attends to other keys or values than it caches"
            if call.unlike is not None:
                return f"layer {index} {call.unlike}"
            # What a window hides is read off each batch's own mask.
            if not layer.is_sliding and not causal.setdefault(id(call.mask), _is_causal(call.mask)):
                return f"layer {index} hides more than what comes later"
        return None


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _is_kept(given: Tensor, kept: Tensor) -> bool:
    """Tell whether a cache kept what attention was given, or the latest tokens of it."""
    (*others, tokens, width), (*kept_others, kept_tokens, kept_width) = given.shape, kept.shape
    return (
        _place(given) == _place(kept)
        and given.stride() == kept.stride()
        and (others, width) == (kept_others, kept_width)
        and tokens >= kept_tokens
    )


def _is_causal(mask: Any) -> bool:
    """Tell whether a mask of one prompt hides the later tokens and nothing else; None is that."""
    if mask is None:
        return True
    if not isinstance(mask, Tensor) or mask.dim() != 4:
        return False
    causal = torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).tril()
    if mask.dtype == torch.bool:
        return bool((mask == causal).all())
    # A float mask is added: what is visible gets no more than it is.
    hidden = mask <= torch.finfo(mask.dtype).min / 2
    return bool(((hidden == ~causal) & (hidden | (mask == 0))).all())
