"""What a model's own attention calls are given and return, kept for the self-check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..models.loading import LanguageModel
from .attention_arguments import AfterCall, AttentionArguments
from .registry import Listener, listen_to_attention

_SOFTMAXES = frozenset({functional.softmax, torch.softmax, Tensor.softmax})


@dataclass(frozen=True)
class AttentionCall:
    """One attention call: scores and pattern of a softmax, or queries, keys, values and the output they give.

    Attributes:
        scores: The softmax's input, ``[H, S, K]``.
        pattern: The softmax's output, ``[H, S, K]``.
        queries: ``[H, S, D]``.
        keys: ``[Hkv, K, D]``.
        values: ``[Hkv, K, D]``.
        output: Before the output projection, ``[S, H, D]``.
    """

    scores: Tensor | None = None
    pattern: Tensor | None = None
    queries: Tensor | None = None
    keys: Tensor | None = None
    values: Tensor | None = None
    output: Tensor | None = None


@dataclass
class AttentionWatch:
    """What is seen, and what is done, while a model's attention is watched.

    Attributes:
        calls: The latest call of each layer.
        silenced: A head whose part of the attention output is set to zero in every call; None leaves all as it is.
    """

    calls: dict[int, AttentionCall] = field(default_factory=dict)
    silenced: int | None = None


@contextmanager
def watch_attention(model: LanguageModel) -> Iterator[AttentionWatch]:
    """Keep what a model's attention calls are given and return while it runs one prompt."""
    watch = AttentionWatch()
    layers = {part.attention: part.index for part in model.parts}
    if model.family.route == "registry":
        listeners = {module: _keeping_call(watch, layer) for module, layer in layers.items()}
        with listen_to_attention(model.attention_implementation, listeners):
            yield watch
        return
    watcher = _Watcher(watch)
    with ExitStack() as stack:
        for module, layer in layers.items():
            before = module.register_forward_pre_hook(watcher.entering(layer))
            stack.callback(before.remove)
            stack.callback(module.register_forward_hook(watcher.leave, always_call=True).remove)
        yield watch


def _keeping_call(watch: AttentionWatch, layer: int) -> Listener:
    def listen(call: AttentionArguments) -> AfterCall:
        def keep(result: Any) -> Any:
            output = result[0]
            watch.calls[layer] = AttentionCall(
                queries=_kept(call.query[0]),
                keys=_kept(call.key[0]),
                values=_kept(call.value[0]),
                output=_kept(output[0]),
            )
            if watch.silenced is not None:
                output[:, :, watch.silenced] = 0.0
            return result

        return keep

    return listen


class _Watcher(TorchFunctionMode):
    """Keeps what the softmax, or the dot-product attention, of the running attention module does."""

    def __init__(self, watch: AttentionWatch) -> None:
        super().__init__()
        self.watch = watch
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
        if self.layer is None:
            return result
        silenced = self.watch.silenced
        if func in _SOFTMAXES:
            scores = args[0] if args else kwargs["input"]
            # One prompt runs, so XGLM's [B * H, S, K] is this prompt's [H, S, K].
            self.watch.calls[self.layer] = AttentionCall(
                scores=_kept(scores.reshape(-1, *scores.shape[-2:])),
                pattern=_kept(result.reshape(-1, *result.shape[-2:])),
            )
            if silenced is not None:
                result.view(-1, *result.shape[-2:])[silenced] = 0.0
        elif func is functional.scaled_dot_product_attention:
            given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
            self.watch.calls[self.layer] = AttentionCall(
                queries=_kept(given["query"][0]),
                keys=_kept(given["key"][0]),
                values=_kept(given["value"][0]),
                output=_kept(result[0].transpose(0, 1)),
            )
            if silenced is not None:
                result[:, silenced] = 0.0
        return result


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu().clone()
