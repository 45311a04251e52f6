"""Wanted rows of the attention scores, computed from queries and keys without the S x S matrix."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from einops import einsum, rearrange
from torch import Tensor

from ..models.score_spaces import ScoreSpace


@dataclass(frozen=True)
class Wanted:
    """Which rows and columns to keep of one forward.

    Attributes:
        rows: Indices into this forward's own tokens, ``[B, P]``.
        past: Tokens that were cached before this forward.
        tokens: Tokens of this forward, S.
        first_column: First kept key, counted from the start of the whole sequence.
    """

    rows: Tensor
    past: int
    tokens: int
    first_column: int
    _placed: dict[torch.device, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def total(self) -> int:
        """Tokens of the whole sequence, cached ones included."""
        return self.past + self.tokens

    @property
    def width(self) -> int:
        """Columns kept."""
        return self.total - self.first_column

    def on(self, device: torch.device) -> Tensor:
        """Return the rows on a device, copied there once, without waiting: every layer asks for them."""
        if device not in self._placed:
            self._placed[device] = self.rows.to(device, non_blocking=True)
        return self._placed[device]


@dataclass(frozen=True)
class Rows:
    """Score rows of one layer over its keys.

    Attributes:
        scores: In the space asked for, fp32, ``[B, P, H, K]``; entries that are not visible are arbitrary.
        visible: Keys that causality, padding and window allow, ``[B, P, 1, K]``.
        sinks: Logits of attention sinks, ``[H]``, which the softmax sees beside the keys.
        written_pattern: What stands in the place of the softmax, ``[B, P, H, K]``.
    """

    scores: Tensor
    visible: Tensor
    sinks: Tensor | None = None
    written_pattern: Tensor | None = None

    def pattern(self) -> Tensor:
        """Return the softmax over all visible keys, ``[B, P, H, K]``, sinks included in the normalisation."""
        if self.written_pattern is not None:
            return self.written_pattern
        logits = self.scores.masked_fill(~self.visible, float("-inf"))
        if self.sinks is not None:
            sinks = self.sinks.float().view(1, 1, -1, 1).expand(*logits.shape[:3], 1)
            logits = torch.cat([logits, sinks], dim=-1)
        # A row without any visible key (padding) has no pattern; it must not spread NaN.
        return torch.softmax(logits, dim=-1).nan_to_num(0.0)[..., : self.scores.shape[-1]]


def take_rows(tensor: Tensor, rows: Tensor) -> Tensor:
    """Return ``tensor[b, rows[b, p]]`` as a copy in fp32, ``[B, P, …]`` from ``[B, S, …]``."""
    batch = torch.arange(rows.shape[0], device=tensor.device)[:, None]
    return tensor[batch, rows.to(tensor.device)].float()


def score_rows(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    wanted: Wanted,
    *,
    prefix_key: Tensor | None = None,
    scaling: float | None,
    softcap: float | None = None,
    window: int | None = None,
    sinks: Tensor | None = None,
    space: ScoreSpace = "softmax_input",
) -> Rows:
    """Compute the wanted rows as the softmax of this attention call sees them.

    Args:
        query: After rotary embedding and norms, ``[B, H, S, D]``.
        key: Likewise and with the cache, before grouped-query expansion, ``[B, Hkv, K, D]``. Sliding caches
            hold fewer keys than there were tokens, so keys are counted from the right.
        mask: The mask handed to attention: bool (True is visible) or float ``[B, 1 or H, S, K]``, bool or int
            ``[B, K]`` (padding alone), or None (plain causality).
        wanted: Rows to compute.
        prefix_key: Keys that stand before those of every query, ``[1, Hkv, P, D]``.
        scaling: Factor on the product; None is the inverse square root of the head width.
        softcap: Bound of the tanh that some families put on the scores.
        window: Sliding window, used where the mask does not say (`mask` None or ``[B, K]``).
        sinks: Attention sinks, ``[H]``.
        space: Score space.
    """
    batch, _, _, width = query.shape
    rows = wanted.on(query.device)
    indices = torch.arange(batch, device=query.device)[:, None]
    taken = query[indices, :, rows].float()
    taken = rearrange(taken, "b p (kv group) d -> b p kv group d", kv=key.shape[1])
    with torch.autocast(query.device.type, enabled=False):
        scores = einsum(taken, key.float(), "b p kv group d, b kv k d -> b p kv group k")
        if prefix_key is not None and prefix_key.shape[-2]:
            before = einsum(taken, prefix_key[0].float(), "b p kv group d, kv k d -> b p kv group k")
            scores = torch.cat([before, scores], dim=-1)
    scores = rearrange(scores, "b p kv group k -> b p (kv group) k")
    if space != "raw":
        scores = scores * (width**-0.5 if scaling is None else scaling)
    if softcap is not None and space in ("softmax_input", "softcapped"):
        scores = softcap * torch.tanh(scores / softcap)
    visible, bias = visible_keys(mask, wanted, scores.shape[-1], window, query.device)
    if bias is not None and space == "softmax_input":
        scores = scores + bias
    return Rows(scores, visible, sinks)


def softmax_rows(scores: Tensor, mask: Tensor | None, wanted: Wanted) -> Rows:
    """Take the wanted rows out of a softmax's input.

    Args:
        scores: What the softmax was given, ``[B, H, S, K]`` or ``[B*H, S, K]``.
        mask: The attention module's own mask, ``[B, 1, S, K]``: float, or bool where True hides a key (MPT).
        wanted: Rows to take.
    """
    batch = wanted.rows.shape[0]
    scores = scores.view(batch, -1, *scores.shape[-2:])
    rows = wanted.on(scores.device)
    indices = torch.arange(batch, device=scores.device)[:, None]
    taken = scores[indices, :, rows]
    # GPT-Neo masks its local window itself with the lowest number, so the scores are asked; CodeGen divides
    # the masked scores, so the mask is asked too.
    hidden = (taken <= torch.finfo(taken.dtype).min / 2).all(dim=2, keepdim=True)
    # The first GPT hides later keys by -10,000 and is given a mask of the padding alone.
    column = torch.arange(wanted.total - taken.shape[-1], wanted.total, device=scores.device)
    hidden = hidden | (column > rows[:, :, None] + wanted.past)[:, :, None]
    if mask is not None:
        mask = mask.expand(batch, -1, scores.shape[-2], -1)[indices, :, rows]
        hidden = hidden | (mask if mask.dtype == torch.bool else mask <= torch.finfo(mask.dtype).min / 2)
    return Rows(taken.float(), ~hidden)


def visible_keys(
    mask: Tensor | None, wanted: Wanted, keys: int, window: int | None, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Read from the mask of an attention call which keys the wanted rows see.

    Returns:
        The visible keys ``[B, P, 1, K]``, and what a float mask adds to visible scores, ``[B, P, 1 or H, K]``
        (a position bias such as ALiBi; zero for a plain mask), else None.
    """
    rows = wanted.on(device)
    if mask is not None and mask.dim() == 4:
        mask = mask[..., -keys:].expand(rows.shape[0], -1, -1, -1).to(device)
        taken = mask[torch.arange(rows.shape[0], device=device)[:, None], :, rows]
        if mask.dtype == torch.bool:
            return taken.any(dim=2, keepdim=True), None
        allowed = taken > torch.finfo(mask.dtype).min / 2
        return allowed.any(dim=2, keepdim=True), taken.masked_fill(~allowed, 0.0).float()
    row = rows[:, :, None] + wanted.past
    column = torch.arange(wanted.total - keys, wanted.total, device=device)
    visible = column <= row
    if window is not None:
        visible = visible & (column > row - window)
    if mask is not None:
        visible = visible & mask[:, None, -keys:].to(device).bool()
    return visible[:, :, None], None


def keep_columns(rows: Tensor, wanted: Wanted) -> Tensor:
    """Cut a row over the keys to the wanted columns, ``[…, K]`` to ``[…, W]``.

    A sliding cache gives fewer keys than columns; the missing ones, on the left, are filled with zeros.
    """
    missing = wanted.width - rows.shape[-1]
    if missing > 0:
        return torch.nn.functional.pad(rows, (missing, 0))
    return rows[..., -missing:] if missing else rows
