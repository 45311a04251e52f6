"""Imitating the inside of ICL: every layer's attention output at the last prompt token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .icl_loss import IclLoss, PromptRows
from .layer_parts import LayerParts
from .loading import LanguageModel


class MatchLoss(IclLoss):
    """The squared distance of every layer's attention output from ICL's, as a share of ICL's own squared change.

    Each layer is divided by the mean squared length of what ICL changes there, and layers are averaged, so that the
    pretrained model has a loss of 1 over the records that the targets were recorded on, and ICL one of 0.
    """

    def distances(self, rows: PromptRows) -> Tensor:
        """Return the distance of each prompt, ``[B]``."""
        target, change = self._targets.attention_output, self._targets.change
        assert target is not None and change is not None
        with attention_outputs_at(self._model, rows.last) as found:
            self._model.module(**rows.inputs)
        reached = torch.stack([found[part.index].to(self._model.device) for part in self._model.parts], dim=1)
        reached = reached.to(torch.promote_types(reached.dtype, torch.float32))
        gap = (reached - target[rows.targets].to(reached)).square().sum(-1)
        change = change.to(gap)
        # Where ICL changes nothing there is nothing to imitate.
        return (gap / change.where(change > 0, torch.inf)).mean(-1)


@contextmanager
def attention_outputs_at(model: LanguageModel, last: Tensor) -> Iterator[dict[int, Tensor]]:
    """Keep every layer's attention output at one token of each prompt of the forward inside, with its graph.

    Args:
        model: The model.
        last: Index of the token of each prompt, ``[B]``.

    Yields:
        What was kept, by layer: ``[B, d]``.
    """
    kept: dict[int, Tensor] = {}

    def keeping(part: LayerParts) -> Callable[..., None]:
        def keep(module: torch.nn.Module, args: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple | list) else output
            tensor = tensor.reshape(len(last), -1, tensor.shape[-1])
            chosen = tensor[torch.arange(len(last), device=tensor.device), last.to(tensor.device)]
            kept[part.index] = chosen if part.output_bias is None else chosen + part.output_bias

        return keep

    handles = [part.output_projection.register_forward_hook(keeping(part)) for part in model.parts]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()
