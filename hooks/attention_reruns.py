"""Each attention module of a model, run again and again on what it was given in one forward of a few tokens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..models.layer_parts import LayerParts
from ..models.live_module import running_eagerly
from ..models.loading import LanguageModel
from ..models.projections import HeadGeometry
from ..tasks.prompt_set import PromptSet
from .attention_calls import AttentionCall, AttentionWatch, watch_attention
from .forward import run_forward

_TOKENS = 8


@dataclass(frozen=True)
class Rerun:
    """One layer's attention module, to be run again on what it was just given.

    Attributes:
        part: The layer.
        geometry: Its head counts and widths.
        watch: What its attention calls give.
        hidden: What the module was given, ``[S, d]``.
        run: Runs it, on other hidden states if some are given; returns its call and what its output projection was
            given, ``[S, H * D]``, None where that was not run.
    """

    part: LayerParts
    geometry: HeadGeometry
    watch: AttentionWatch
    hidden: Tensor
    run: Callable[[Tensor | None], tuple[AttentionCall, Tensor | None]]

    def fault(self, what: str) -> UserError:
        """Return what is wrong in this layer."""
        return UserError(f"layer {self.part.index}: {what}")


def examine_layers(model: LanguageModel, prompts: PromptSet, examine: Callable[[Rerun], None]) -> None:
    """Run a few tokens, and stop at each layer's attention module to examine it."""
    ids = (prompts.full_ids(0) * _TOKENS)[: min(_TOKENS, model.context_length or _TOKENS)]
    tokens = torch.tensor([ids])
    unseen = {part.index for part in model.parts}
    with running_eagerly(), watch_attention(model) as watch, ExitStack() as stack:
        for part in model.parts:
            hook = _examining(part, model.geometry_of(part.index), watch, examine, unseen)
            stack.callback(part.attention.register_forward_hook(hook, with_kwargs=True).remove)
        run_forward(model, tokens, torch.ones_like(tokens, dtype=torch.bool), keep_logits=torch.tensor([[0]]))
    if unseen:
        raise UserError(f"layer {min(unseen)} does not run its attention module")


def _examining(
    part: LayerParts,
    geometry: HeadGeometry,
    watch: AttentionWatch,
    examine: Callable[[Rerun], None],
    unseen: set[int],
) -> Callable[..., None]:
    running = False

    def hook(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        nonlocal running
        if running:
            return
        given: list[Tensor] = []
        original = args[0] if args else kwargs["hidden_states"]

        def run(hidden: Tensor | None) -> tuple[AttentionCall, Tensor | None]:
            given.clear()
            watch.calls.pop(part.index, None)
            if hidden is None:
                module(*args, **kwargs)
            elif args:
                module(hidden.view(original.shape), *args[1:], **kwargs)
            else:
                module(**(kwargs | {"hidden_states": hidden.view(original.shape)}))
            call = watch.calls.get(part.index)
            if call is None:
                raise UserError(f"layer {part.index}: its attention module makes no attention call")
            return call, given[-1] if given else None

        def keep(_: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            tensor: Tensor = inputs[0] if inputs else next(iter(named.values()))
            given.append(tensor.detach().float().cpu().reshape(-1, tensor.shape[-1]).clone())

        running = True
        unseen.discard(part.index)
        handle = part.output_projection.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            examine(Rerun(part, geometry, watch, original.reshape(-1, original.shape[-1]), run))
        finally:
            running = False
            handle.remove()

    return hook
