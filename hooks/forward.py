"""One forward of the real module on a padded batch, with positions that come from the mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..models.loading import LanguageModel
from .prefix import attending_behind, cache_name


class Forward(Protocol):
    """Runs a batch of one model, whoever runs it, as `run_forward` does with the model's own module."""

    def __call__(
        self,
        tokens: Tensor,
        exists: Tensor,
        *,
        cache: Any = None,
        use_cache: bool = False,
        keep_logits: Tensor | None = None,
    ) -> Any:
        """Return an output with ``logits``, and with keys and values where they were asked for."""
        ...


def run_forward(
    model: LanguageModel,
    tokens: Tensor,
    exists: Tensor,
    *,
    cache: Any = None,
    use_cache: bool = False,
    keep_logits: Tensor | None = None,
) -> Any:
    """Run a batch without gradients.

    Args:
        model: The model.
        tokens: Token ids, ``[B, S]``.
        exists: Which tokens are real, cached ones included, ``[B, past + S]``.
        cache: Keys and values of the tokens in front; it grows.
        use_cache: Whether to keep keys and values.
        keep_logits: The token positions whose logits are wanted, ``[U]``; all by default. An architecture
            that cannot choose gives all, which are cut here.
    """
    inputs = forward_inputs(model, tokens, exists, cache=cache, use_cache=use_cache, keep_logits=keep_logits)
    with torch.no_grad(), attending_behind(model, cache):
        output = model.module(**inputs)
    if keep_logits is not None and output.logits.shape[1] != len(keep_logits):
        output.logits = output.logits[:, keep_logits.to(output.logits.device)]
    return output


def forward_inputs(
    model: LanguageModel,
    tokens: Tensor,
    exists: Tensor,
    *,
    cache: Any = None,
    use_cache: bool = False,
    keep_logits: Tensor | None = None,
) -> dict[str, Any]:
    """Return what `run_forward` gives the module.

    Learned positions would be wrong in a padded batch without position ids, so they are always given where
    the architecture takes them.
    """
    takes = model.arguments
    inputs: dict[str, Any] = {
        "input_ids": tokens.to(model.device),
        "attention_mask": exists.long().to(model.device),
        "use_cache": use_cache or cache is not None,
    }
    if cache is not None:
        inputs[cache_name(takes)] = cache
    if "position_ids" in takes:
        positions = (exists.long().cumsum(dim=1) - 1).clamp(min=0)
        inputs["position_ids"] = positions[:, -tokens.shape[1] :].to(model.device)
    if keep_logits is not None and "logits_to_keep" in takes:
        inputs["logits_to_keep"] = keep_logits.to(model.device)
    return inputs


def pad(sequences: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Pad on the right; return tokens and which of them are real, ``[B, S]``."""
    longest = max(len(ids) for ids in sequences)
    tokens = torch.zeros(len(sequences), longest, dtype=torch.long)
    exists = torch.zeros_like(tokens, dtype=torch.bool)
    for row, ids in enumerate(sequences):
        tokens[row, : len(ids)] = torch.tensor(ids)
        exists[row, : len(ids)] = True
    return tokens, exists
