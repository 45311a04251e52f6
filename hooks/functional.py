"""The tap for families that call the softmax, or ``scaled_dot_product_attention``, themselves."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# Told of the softmax's input [B, H or B*H, S, K] and the attention module's own mask.
SoftmaxListener = Callable[[Tensor, Tensor | None], None]
# Told of the arguments of scaled_dot_product_attention: query, key, mask, scale.
ProductListener = Callable[[Tensor, Tensor, Tensor | None, float | None], None]

_SOFTMAXES = frozenset({functional.softmax, torch.softmax, Tensor.softmax})
_PRODUCT = functional.scaled_dot_product_attention


class _Running(threading.local):
    """Whose attention runs now, in each thread by itself, as the stack of modes is."""

    listener: tuple[SoftmaxListener, ProductListener] | None = None
    mask: Tensor | None = None


class _ReadAttention(TorchFunctionMode):
    """Reads the arguments of attention calls, active only while one of the given modules runs.

    The stack of modes gives back only its top; entered and left around each module, several taps may end in
    any order, and none stays on the stack between two batches of a stream.
    """

    def __init__(self, listeners: Mapping[torch.nn.Module, tuple[SoftmaxListener, ProductListener]]) -> None:
        super().__init__()
        self.listeners = listeners
        self.now = _Running()

    def enter(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Remember whose attention runs now, and the mask it was given."""
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        self.now.listener, self.now.mask = self.listeners[module], bound.get("attention_mask")
        self.__enter__()

    def leave(self, *_: Any) -> None:
        """Forget it; also called when the module raised, or a hook before `enter`."""
        if self.now.listener is not None:
            self.now.listener = self.now.mask = None
            self.__exit__(None, None, None)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Tell the running module's listener, then do what was asked for."""
        kwargs = kwargs or {}
        if self.now.listener is not None and (func in _SOFTMAXES or func is _PRODUCT):
            # What a listener computes itself must not reach another tap on the same module.
            with torch._C.DisableTorchFunction():
                self._tell(func, args, kwargs, *self.now.listener)
        return func(*args, **kwargs)

    def _tell(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        on_softmax: SoftmaxListener,
        on_product: ProductListener,
    ) -> None:
        if func in _SOFTMAXES:
            on_softmax(args[0] if args else kwargs["input"], self.now.mask)
        else:
            bound = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | kwargs
            on_product(bound["query"], bound["key"], bound.get("attn_mask"), bound.get("scale"))


@contextmanager
def listen_to_softmax(
    listeners: Mapping[torch.nn.Module, tuple[SoftmaxListener, ProductListener]],
) -> Iterator[None]:
    """Tell a module's listeners of every softmax and every dot-product attention that it runs.

    Args:
        listeners: For each attention module what to call for a softmax and what for a dot-product attention.
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
