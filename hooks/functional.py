"""The way into attention of families that call the softmax, or ``scaled_dot_product_attention``, themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..models.forward_signature import forward_signature
from .attention_arguments import AfterCall, AttentionArguments, SoftmaxArguments

SoftmaxListener = Callable[[SoftmaxArguments], AfterCall | None]
ProductListener = Callable[[AttentionArguments], AfterCall | None]

# Told of the queries, keys and values that attention multiplies, [B, heads, K, D] or [B * heads, K, D]. Of values,
# which come before they are multiplied, it may return others.
Operand = Literal["queries", "keys", "values"]
OperandListener = Callable[[Operand, Tensor], Tensor | None]
# Given the two factors of each matrix product before the softmax; returns those to multiply.
FactorsListener = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

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
        operand: Of queries, keys and values around a softmax; None where nobody asks.
        factors: Of the factors of matrix products before the softmax; None where nobody changes them.
    """

    softmax: SoftmaxListener
    product: ProductListener
    operand: OperandListener | None = None
    factors: FactorsListener | None = None


class _Running(threading.local):
    """Whose attention runs now, in each thread by itself, as the stack of modes is.

    Attributes:
        module: The attention module.
        listeners: What is told of it, in the order in which they began.
        mask: The mask that it was given.
        factors: What the latest matrix product multiplied as each listener saw it, until a softmax comes.
        pattern: The shape of the pattern, until it is multiplied by values.
    """

    def __init__(self) -> None:
        self.begin(None, None)

    def begin(self, module: torch.nn.Module | None, mask: Tensor | None) -> None:
        self.module, self.mask = module, mask
        self.listeners: list[AttentionListeners] = []
        self.factors: list[tuple[Tensor, Tensor]] = []
        self.pattern: tuple[int, ...] | None = None


class _ReadAttention(TorchFunctionMode):
    """Reads the arguments of attention calls, active only while a module runs to which somebody listens.

    The stack of modes gives back only its top, and asks it first; one mode for all, entered and left around each
    module, lets listeners end in any order and hear in the order in which they began.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = _Running()

    def enter(
        self,
        listeners: AttentionListeners,
        module: torch.nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Remember whose attention runs now, and the mask it was given."""
        if self.now.module is None:
            bound = forward_signature(module).bind(*args, **kwargs).arguments
            self.now.begin(module, bound.get("attention_mask"))
            self.__enter__()
        self.now.listeners.append(listeners)

    def leave(self, module: torch.nn.Module, *_: Any) -> None:
        """Forget it; also called when the module raised, or a hook before `enter`."""
        if self.now.module is module:
            self.now.begin(None, None)
            self.__exit__(None, None, None)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Tell the running module's listeners, do what was asked for, and tell those who want the result."""
        named: dict[str, Any] = kwargs or {}
        after: list[AfterCall] = []
        if self.now.listeners:
            # What a listener computes itself must not reach another one on the same module.
            with torch._C.DisableTorchFunction():
                if func in _SOFTMAXES:
                    args, named, after = self._before_softmax(args, named)
                elif func is _PRODUCT:
                    args, named, after = self._before_product(args, named)
                elif func in _MATRIX_PRODUCTS and any(each.operand for each in self.now.listeners):
                    args, named = self._before_matrix_product(func, args, named)
        result = func(*args, **named)
        if after:
            with torch._C.DisableTorchFunction():
                for replaced in after:
                    result = replaced(result)
        return result

    def _before_softmax(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given: Tensor = args[0] if args else kwargs["input"]
        shape = tuple(given.shape[-2:])
        call = SoftmaxArguments(given, self.now.mask)
        after, factors = [], self.now.factors
        self.now.factors = []
        for place, listeners in enumerate(self.now.listeners):
            after.append(listeners.softmax(call))
            if listeners.operand is None or not factors:
                continue
            query, key = factors[place]
            # Scores are the product of queries and transposed keys, which nothing multiplied after them.
            if (query.shape[-2], key.shape[-1]) == shape:
                listeners.operand("queries", query)
                listeners.operand("keys", key.transpose(-1, -2))
                self.now.pattern = shape
        if args:
            args = (call.scores, *args[1:])
        else:
            kwargs = kwargs | {"input": call.scores}
        return args, kwargs, [each for each in after if each is not None]

    def _before_product(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        names = ("query", "key", "value", "attn_mask")
        given = dict(zip(names, args, strict=False)) | kwargs
        call = AttentionArguments(
            self.now.module,  # type: ignore[arg-type]
            given["query"],
            given["key"],
            given["value"],
            given.get("attn_mask"),
            {"scaling": given.get("scale"), "dropout": given.get("dropout_p", 0.0)},
            heads_first=True,
        )
        after = [listeners.product(call) for listeners in self.now.listeners]
        changed: dict[str, Any] = {"query": call.query, "key": call.key, "value": call.value}
        args = (*(changed[name] for name in names[:3][: len(args)]), *args[3:])
        kwargs = kwargs | {name: each for name, each in changed.items() if name in kwargs}
        return args, kwargs, [each for each in after if each is not None]

    def _before_matrix_product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        added = func in (torch.baddbmm, Tensor.baddbmm)
        names = ("batch1", "batch2") if added else ("input", "other", "mat2")
        one, other, *_ = [*args[added:], *(kwargs[name] for name in names if name in kwargs)]
        first, second = one, other
        if self.now.pattern is None:
            self.now.factors = []
            for listeners in self.now.listeners:
                if listeners.factors is not None:
                    one, other = listeners.factors(one, other)
                self.now.factors.append((one, other))
        elif tuple(one.shape[-2:]) == self.now.pattern:
            self.now.pattern = None
            for listeners in self.now.listeners:
                replaced = None if listeners.operand is None else listeners.operand("values", other)
                other = other if replaced is None else replaced

        def now(given: Any) -> Any:
            return one if given is first else other if given is second else given

        return tuple(map(now, args)), {name: now(given) for name, given in kwargs.items()}


_MODE = _ReadAttention()


@contextmanager
def listen_to_softmax(listeners: Mapping[torch.nn.Module, AttentionListeners]) -> Iterator[None]:
    """Tell a module's listeners of every softmax and every dot-product attention that it runs.

    Args:
        listeners: What to call for which attention module.
    """
    handles = []
    try:
        for module, told in listeners.items():
            handles.append(module.register_forward_pre_hook(partial(_MODE.enter, told), with_kwargs=True))
            handles.append(module.register_forward_hook(_MODE.leave, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()
