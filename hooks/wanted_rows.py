"""Which rows of a forward are wanted: positions of a plan turned into rows of a padded batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, shown
from .prefix import cache_name
from .resolved_plan import ResolvedPlan
from .rows import Wanted


def wanted_from_inputs(
    resolved: ResolvedPlan, inputs: Mapping[str, Any], begin: int | None
) -> tuple[Wanted, Tensor, Tensor]:
    """Read off a forward's inputs, by name, which rows the plan wants.

    Args:
        resolved: The plan.
        inputs: The forward's inputs.
        begin: The begin-of-sequence token, which is no column where a prompt begins with it; see `begin_token`.

    Returns:
        The rows wanted, which columns hold a token ``[B, W]`` (begin-of-sequence excluded), and which of the
        rows exist ``[B, P]``.

    Raises:
        UserError: If the inputs do not tell, or a position lies outside a prompt.
    """
    exists, past = existing_tokens(inputs)
    positions, here = resolved.plan.positions, exists[:, past:]
    if isinstance(positions, str) and positions not in ("last_prompt_token", "all"):
        raise UserError(
            f"a forward does not say where {shown(positions)} stands: use capture(model, prompts, plan)"
        )
    rows, existing = rows_at(positions, here)
    columns, tokens = exists.clone(), inputs.get("input_ids")
    if tokens is not None and past == 0 and begin is not None:
        first = exists.int().argmax(dim=1)
        starts = tokens.cpu().gather(1, first[:, None])[:, 0] == begin
        columns[starts, first[starts]] = False
    return Wanted(rows, past, here.shape[1], first_column=0), columns, existing


def existing_tokens(inputs: Mapping[str, Any]) -> tuple[Tensor, int]:
    """Read off a forward's inputs, by name, which tokens are real, cached ones included, and how many are cached.

    Returns:
        Which are real, ``[B, K]``, on the CPU, and the number of the cached.

    Raises:
        UserError: If the inputs do not tell.
    """
    tokens = inputs.get("input_ids")
    shape = tokens if tokens is not None else inputs.get("inputs_embeds")
    if shape is None:
        raise UserError("a forward under a tap or a patch needs input_ids or inputs_embeds")
    batch, length = shape.shape[:2]
    cache = inputs.get(cache_name(inputs))
    past = int(cache.get_seq_length()) if cache is not None else 0
    mask, total = inputs.get("attention_mask"), past + length
    if mask is not None and tuple(mask.shape) != (batch, total):
        raise UserError(
            f"a forward under a tap or a patch needs an attention mask [batch, tokens] of {batch, total}, not "
            f"{tuple(mask.shape)}"
        )
    return (torch.ones(batch, total) if mask is None else mask).bool().cpu(), past


def rows_at(positions: str | tuple[int, ...], exists: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
    """Turn positions into rows of a padded batch.

    Args:
        positions: ``last_prompt_token``, ``all``, or indices into each prompt's own tokens.
        exists: Which tokens are real, ``[B, S]``, in one run each.
        first: How many leading real tokens are not counted (a prefix that positions do not address).

    Returns:
        Row indices and which of them exist, both ``[B, P]``.

    Raises:
        UserError: If a listed position lies outside a prompt.
    """
    start = exists.int().argmax(dim=1, keepdim=True) + first
    lengths = exists.sum(dim=1, keepdim=True) - first
    if positions == "last_prompt_token":
        return start + lengths - 1, torch.ones_like(start, dtype=torch.bool)
    if positions == "all":
        steps = torch.arange(int(lengths.max()))[None]
        existing = steps < lengths
        return torch.where(existing, start + steps, start), existing
    listed = torch.tensor(positions)[None].expand(exists.shape[0], -1)
    inside = (listed < lengths) & (listed >= -lengths)
    if not inside.all():
        shortest = int(lengths.min())
        raise UserError(f"positions {list(positions)} lie outside a prompt of {shortest} tokens")
    return start + torch.where(listed < 0, listed + lengths, listed), torch.ones_like(
        listed, dtype=torch.bool
    )
