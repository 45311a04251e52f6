"""One forward of the real module on a padded batch, with positions that come from the mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor

from ..models.chosen_logits import packs, run_at
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
        """Return an output with ``logits``, and with keys and values where they were asked for.

        Those of `keep_logits`, places of each row ``[B, M]``, are ``[B, M, V]``; all are ``[B, S, V]``.
        """
        ...


def run_forward(
    model: LanguageModel,
    tokens: Tensor,
    exists: Tensor,
    *,
    cache: Any = None,
    use_cache: bool = False,
    keep_logits: Tensor | None = None,
    together: bool = True,
) -> Any:
    """Run a batch without gradients.

    Args:
        model: The model.
        tokens: Token ids, ``[B, S]``.
        exists: Which tokens are real, cached ones included, ``[B, past + S]``.
        cache: Keys and values of the tokens in front; it grows.
        use_cache: Whether to keep keys and values.
        keep_logits: The places in each row whose logits are wanted, ``[B, M]``; all by default.
        together: Whether the tokens there may be put together before the head, see `run_at`; if not, logits of
            these places are computed in all rows.

    Returns:
        The model's output; its ``logits`` are ``[B, M, V]`` of the places wanted, else ``[B, S, V]``.
    """
    # Whether a model allows it is seen before anybody listens to this forward.
    together = together and keep_logits is not None and packs(model)
    with torch.no_grad(), attending_behind(model, cache):
        if keep_logits is None or not together:
            columns = None if keep_logits is None else keep_logits.unique()
            inputs = forward_inputs(model, tokens, exists, cache=cache, use_cache=use_cache, columns=columns)
            output = model.module(**inputs)
            if keep_logits is not None:
                output.logits = logits_at(output.logits, keep_logits, tokens.shape[1])
            return output
        inputs = forward_inputs(model, tokens, exists, cache=cache, use_cache=use_cache)
        rows = torch.arange(len(tokens)).repeat_interleave(keep_logits.shape[1])
        output, logits = run_at(model, inputs, rows, keep_logits.flatten())
    output.logits = rearrange(logits, "(b m) v -> b m v", b=len(tokens))
    return output


def logits_at(logits: Tensor, keep: Tensor, tokens: int) -> Tensor:
    """Return the logits of places in each row, ``[B, M, V]``.

    Args:
        logits: Of all places, ``[B, S, V]``, or of the columns that are wanted in any row, ``[B, U, V]``.
        keep: The places, ``[B, M]``.
        tokens: Places of a row, S.
    """
    columns, place = keep.unique(return_inverse=True)
    chosen = (keep if logits.shape[1] == tokens != len(columns) else place).to(logits.device)
    return logits.gather(1, chosen[..., None].expand(-1, -1, logits.shape[-1]))


def forward_inputs(
    model: LanguageModel,
    tokens: Tensor,
    exists: Tensor,
    *,
    cache: Any = None,
    use_cache: bool = False,
    columns: Tensor | None = None,
) -> dict[str, Any]:
    """Return what `run_forward` gives the module; `columns` are the places, ``[U]``, whose logits any row wants.

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
    if columns is not None and "logits_to_keep" in takes:
        inputs["logits_to_keep"] = columns.to(model.device)
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
