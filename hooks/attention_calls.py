"""What a model's own attention calls return, kept for the self-check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..models.loading import LanguageModel
from .registry import Listener, listen_to_attention

_SOFTMAXES = frozenset({functional.softmax, torch.softmax, Tensor.softmax})


@dataclass(frozen=True)
class AttentionCall:
    """What an attention call returned: its pattern, or its output with the values that went into it.

    Attributes:
        pattern: The softmax's output, ``[H, S, K]``.
        values: ``[Hkv, K, D]``.
        output: Before the output projection, ``[S, H, D]``.
    """

    pattern: Tensor | None = None
    values: Tensor | None = None
    output: Tensor | None = None


@contextmanager
def watch_attention(model: LanguageModel, calls: dict[int, AttentionCall]) -> Iterator[None]:
    """Keep what a model's attention calls return while it runs one prompt.

    Args:
        model: The model.
        calls: Filled with the call of each layer.
    """
    layers = {part.attention: part.index for part in model.parts}
    if model.family.route == "registry":
        listeners = {module: _keeping_result(calls, layer) for module, layer in layers.items()}
        with listen_to_attention(model.attention_implementation, listeners):
            yield
        return
    watcher = _Watcher(calls)
    with ExitStack() as stack:
        for module, layer in layers.items():
            before = module.register_forward_pre_hook(watcher.entering(layer))
            stack.callback(before.remove)
            stack.callback(module.register_forward_hook(watcher.leave, always_call=True).remove)
        yield


def _keeping_result(calls: dict[int, AttentionCall], layer: int) -> Listener:
    def keep(value: Tensor, result: Any) -> None:
        calls[layer] = AttentionCall(values=_kept(value[0]), output=_kept(result[0][0]))

    return lambda *_: keep


class _Watcher(TorchFunctionMode):
    """Keeps what the softmax, or the dot-product attention, of the running attention module returns."""

    def __init__(self, calls: dict[int, AttentionCall]) -> None:
        super().__init__()
        self.calls = calls
        self.layer: int | None = None

    def entering(self, layer: int) -> Callable[..., None]:
        """Return a hook that notes which layer's attention runs."""

        def enter(*_: Any) -> None:
            self.layer = layer
            self.__enter__()

        return enter

    def leave(self, *_: Any) -> None:
        """Forget it; also called when the module raised."""
        if self.layer is not None:
            self.layer = None
            self.__exit__(None, None, None)

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Do what was asked for and keep the result of attention."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.layer is not None and func in _SOFTMAXES:
            # One prompt runs, so XGLM's [B * H, S, K] is this prompt's [H, S, K].
            self.calls[self.layer] = AttentionCall(pattern=_kept(result.reshape(-1, *result.shape[-2:])))
        elif self.layer is not None and func is functional.scaled_dot_product_attention:
            values = args[2] if len(args) > 2 else kwargs["value"]
            self.calls[self.layer] = AttentionCall(
                values=_kept(values[0]), output=_kept(result[0].transpose(0, 1))
            )
        return result


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu().clone()
