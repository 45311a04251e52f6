"""The tap for families that call the softmax, or ``scaled_dot_product_attention``, themselves."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# Told of the softmax's input [B, H or B*H, S, K] and the attention module's own mask.
SoftmaxListener = Callable[[Tensor, Tensor | None], None]
# Told of the arguments of scaled_dot_product_attention: query, key, mask, scale.
ProductListener = Callable[[Tensor, Tensor, Tensor | None, float | None], None]

# Told of the queries, keys and values that attention multiplies, [B, heads, K, D] or [B * heads, K, D].
Operand = Literal["queries", "keys", "values"]
OperandListener = Callable[[Operand, Tensor], None]

_SOFTMAXES = frozenset({functional.softmax, torch.softmax, Tensor.softmax})
_PRODUCT = functional.scaled_dot_product_attention
# How the modelling files multiply queries by keys, and the pattern by values.
_MATRIX_PRODUCTS = frozenset(
    {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.baddbmm, Tensor.baddbmm}
)


class AttentionListeners(NamedTuple):
    """What is told of the attention of one module.

    Attributes:
        softmax: Of each softmax.
        product: Of each dot-product attention.
        operand: Of queries, keys and values; None where nobody asks.
    """

    softmax: SoftmaxListener
    product: ProductListener
    operand: OperandListener | None = None


class _Running(threading.local):
    """Whose attention runs now, in each thread by itself, as the stack of modes is.

    Attributes:
        listeners: What is told of it.
        mask: The mask that it was given.
        factors: What the latest matrix product multiplied, until a softmax comes.
        pattern: The shape of the pattern, until it is multiplied by values.
    """

    listeners: AttentionListeners | None = None
    mask: Tensor | None = None
    factors: tuple[Tensor, Tensor] | None = None
    pattern: tuple[int, ...] | None = None


class _ReadAttention(TorchFunctionMode):
    """Reads the arguments of attention calls, active only while one of the given modules runs.

    The stack of modes gives back only its top; entered and left around each module, several taps may end in
    any order, and none stays on the stack between two batches of a stream.
    """

    def __init__(self, listeners: Mapping[torch.nn.Module, AttentionListeners]) -> None:
        super().__init__()
        self.listeners = listeners
        self.now = _Running()

    def enter(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Remember whose attention runs now, and the mask it was given."""
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        self.now.listeners, self.now.mask = self.listeners[module], bound.get("attention_mask")
        self.__enter__()

    def leave(self, *_: Any) -> None:
        """Forget it; also called when the module raised, or a hook before `enter`."""
        if self.now.listeners is not None:
            self.now.listeners = self.now.mask = self.now.factors = self.now.pattern = None
            self.__exit__(None, None, None)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Tell the running module's listeners, then do what was asked for."""
        kwargs = kwargs or {}
        listeners = self.now.listeners
        if listeners is not None:
            # What a listener computes itself must not reach another tap on the same module.
            with torch._C.DisableTorchFunction():
                if func in _SOFTMAXES:
                    self._on_softmax(listeners, args[0] if args else kwargs["input"])
                elif func is _PRODUCT:
                    _on_product(listeners, args, kwargs)
                elif listeners.operand is not None and func in _MATRIX_PRODUCTS:
                    self._on_matrix_product(listeners.operand, func, args, kwargs)
        return func(*args, **kwargs)

    def _on_softmax(self, listeners: AttentionListeners, scores: Tensor) -> None:
        listeners.softmax(scores, self.now.mask)
        if listeners.operand is None or self.now.factors is None:
            return
        (query, key), self.now.factors = self.now.factors, None
        # Scores are the product of queries and transposed keys, which nothing multiplied after them.
        if (query.shape[-2], key.shape[-1]) == tuple(scores.shape[-2:]):
            listeners.operand("queries", query)
            listeners.operand("keys", key.transpose(-1, -2))
            self.now.pattern = tuple(scores.shape[-2:])

    def _on_matrix_product(
        self, listener: OperandListener, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        added = func in (torch.baddbmm, Tensor.baddbmm)
        names = ("batch1", "batch2") if added else ("input", "other", "mat2")
        one, other, *_ = [*args[added:], *(kwargs[name] for name in names if name in kwargs)]
        if self.now.pattern is None:
            self.now.factors = (one, other)
        elif tuple(one.shape[-2:]) == self.now.pattern:
            self.now.pattern = None
            listener("values", other)


def _on_product(listeners: AttentionListeners, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    given = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | kwargs
    listeners.product(given["query"], given["key"], given.get("attn_mask"), given.get("scale"))
    if listeners.operand is not None:
        listeners.operand("queries", given["query"])
        listeners.operand("keys", given["key"])
        listeners.operand("values", given["value"])


@contextmanager
def listen_to_softmax(listeners: Mapping[torch.nn.Module, AttentionListeners]) -> Iterator[None]:
    """Tell a module's listeners of every softmax and every dot-product attention that it runs.

    Args:
        listeners: What to call for which attention module.
    """
    mode = _ReadAttention(listeners)
    handles = []
    try:
        for module in listeners:
            handles.append(module.register_forward_pre_hook(mode.enter, with_kwargs=True))
            handles.append(module.register_forward_hook(mode.leave, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()
