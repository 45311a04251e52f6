"""Attention of many queries to one prefix that is not copied: to the prefix and to own tokens apart, then merged.

The prefix's keys stand once for all queries of a batch, so all rows attend to them in one call. What the two parts
give is weighted by the sums of their exponentials (log-sum-exp), which is the softmax over both together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.torch_version import TorchVersion

# Scores that are in memory at once, 32 MB in fp32: more do not stay in the caches of a CPU.
_MOST_SCORES = 1 << 23
_HALF = (torch.float16, torch.bfloat16)
_gives_fp32 = TorchVersion(torch.__version__) >= "2.8"
# Its name is torch's own business, and what it gives is tested; without it the scores are formed.
_fused = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)


@dataclass(frozen=True)
class _Part:
    """What attention to some of the keys gives.

    Attributes:
        mixed: ``[B, kv, group, S, D]``, of a softmax over these keys alone.
        logsumexp: Of their scores, ``[B, kv, group, S, 1]``; minus infinity where none is visible.
    """

    mixed: Tensor
    logsumexp: Tensor


@dataclass(frozen=True)
class _Scoring:
    """From the product of queries and keys to what the softmax sees."""

    scaling: float
    softcap: float | None


def attend_behind_prefix(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix_key: Tensor,
    prefix_value: Tensor,
    mask: Tensor | None,
    *,
    whole_prefix: bool,
    scaling: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Return what attention gives over a shared prefix and each query's own tokens, ``[B, S, H, D]``.

    Args:
        query: ``[B, H, S, D]``.
        key: Own tokens' keys, before grouped-query expansion, ``[B, Hkv, K, D]``.
        value: Their values.
        prefix_key: The prefix's keys, ``[1, Hkv, P, D]``.
        prefix_value: Its values.
        mask: ``[B, 1 or H, S, P + K]``, bool (True is visible) or float (added); None is plain causality.
        whole_prefix: Whether every row sees the whole prefix, so that its part of the mask is not needed.
        scaling: Factor on the product; None is the inverse square root of the head width.
        softcap: Bound of a tanh on the scores.
        sinks: Logits of attention sinks, ``[H]``, which the softmax sees beside the keys.
    """
    scoring = _Scoring(query.shape[-1] ** -0.5 if scaling is None else scaling, softcap)
    own_mask, prefix_mask = _masks(mask, query, key, prefix_key, whole_prefix)
    grouped = rearrange(query, "b (kv group) s d -> b kv group s d", kv=key.shape[1])
    size = max(1, _MOST_SCORES // max(1, grouped[0, ..., 0].numel() * prefix_key.shape[-2]))
    outputs = []
    with torch.autocast(query.device.type, enabled=False):
        for start in range(0, len(query), size):
            rows = slice(start, start + size)
            parts = [
                _to_prefix(grouped[rows], prefix_key, prefix_value, _some(prefix_mask, rows), scoring),
                _to_own(grouped[rows], key[rows], value[rows], _some(own_mask, rows), scoring),
            ]
            merged = _merge(parts, sinks)
            outputs.append(rearrange(merged, "b kv group s d -> b s (kv group) d").to(query.dtype))
    return outputs[0].contiguous() if len(outputs) == 1 else torch.cat(outputs)


def _to_prefix(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scoring: _Scoring) -> _Part:
    """Attend to the keys that all queries share: every row of every query is a row of one product."""
    sizes = {"b": len(query), "group": query.shape[2]}
    rows = rearrange(query, "b kv group s d -> kv (b group s) d")
    plain = mask is None and scoring.softcap is None and key.shape == value.shape
    if plain and rows.device.type == "cpu" and rows.dtype == key.dtype and _fused is not None:
        mixed, logsumexp = _fused(rows[None], key, value, scale=scoring.scaling)
        return _Part(
            rearrange(mixed[0].to(logsumexp), "kv (b group s) d -> b kv group s d", **sizes),
            rearrange(logsumexp[0], "kv (b group s) -> b kv group s 1", **sizes),
        )
    scores = _product(rows, key[0].transpose(-1, -2))
    scores = rearrange(scores, "kv (b group s) k -> b kv group s k", **sizes)
    weights, total, logsumexp = _exponentials(scores, mask, scoring)
    mixed = _product(rearrange(weights, "b kv group s k -> kv (b group s) k"), value[0])
    return _Part(rearrange(mixed, "kv (b group s) d -> b kv group s d", **sizes) / total, logsumexp)


def _to_own(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scoring: _Scoring) -> _Part:
    """Attend to each query's own keys: one product a query and key-value head."""
    sizes = {"b": len(query), "group": query.shape[2]}
    rows = rearrange(query, "b kv group s d -> (b kv) (group s) d")
    scores = _product(rows, rearrange(key, "b kv k d -> (b kv) d k"))
    scores = rearrange(scores, "(b kv) (group s) k -> b kv group s k", **sizes)
    weights, total, logsumexp = _exponentials(scores, mask, scoring)
    weights = rearrange(weights, "b kv group s k -> (b kv) (group s) k")
    mixed = _product(weights, rearrange(value, "b kv k d -> (b kv) k d"))
    return _Part(rearrange(mixed, "(b kv) (group s) d -> b kv group s d", **sizes) / total, logsumexp)


def _exponentials(scores: Tensor, mask: Tensor | None, scoring: _Scoring) -> tuple[Tensor, Tensor, Tensor]:
    """Return the softmax's numerators, made in place, their sum, and the log of the sum of exponentials."""
    scores.mul_(scoring.scaling)
    if scoring.softcap is not None:
        scores.div_(scoring.softcap).tanh_().mul_(scoring.softcap)
    if mask is not None and mask.dtype == torch.bool:
        scores.masked_fill_(~mask, float("-inf"))
    elif mask is not None:
        scores.add_(mask)
    limits = torch.finfo(scores.dtype)
    # A row that sees none of these keys has zeros and no NaN, which would spread.
    largest = scores.amax(-1, keepdim=True).clamp(min=limits.min)
    weights = scores.sub_(largest).exp_()
    total = weights.sum(-1, keepdim=True)
    return weights, total.clamp(min=limits.tiny), largest + total.log()


def _merge(parts: list[_Part], sinks: Tensor | None) -> Tensor:
    """Return the softmax over all parts and the sinks, ``[B, kv, group, S, D]``."""
    logsumexps = [part.logsumexp for part in parts]
    if sinks is not None:
        heads = rearrange(sinks.to(logsumexps[0]), "(kv group) -> kv group 1 1", kv=logsumexps[0].shape[1])
        logsumexps.append(heads.expand_as(logsumexps[0]))
    stacked = torch.stack(logsumexps)
    # Padding behind a window may see no key of any part: zeros, as fused attention gives.
    weights = torch.softmax(stacked, dim=0).nan_to_num(0.0)
    merged = parts[0].mixed * weights[0]
    for part, weight in zip(parts[1:], weights[1:], strict=False):
        merged = merged.addcmul_(part.mixed, weight)
    return merged


def _product(one: Tensor, other: Tensor) -> Tensor:
    """Return the product of two batches of matrices, of halves in fp32."""
    if other.dtype not in _HALF:
        return torch.bmm(one.to(other.dtype), other)
    if other.is_cuda and _gives_fp32:
        return torch.bmm(one.to(other.dtype), other, out_dtype=torch.float32)
    return torch.bmm(one.float(), other.float())


def _masks(
    mask: Tensor | None, query: Tensor, key: Tensor, prefix_key: Tensor, whole_prefix: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the masks of own tokens and of the prefix, each ``[1 or B, kv or 1, group or 1, S, …]``."""
    tokens, keys, past = query.shape[-2], key.shape[-2], prefix_key.shape[-2]
    if mask is None:
        causal = torch.ones(tokens, keys, dtype=torch.bool, device=query.device).tril(keys - tokens)
        return (None if tokens == 1 else causal[None, None, None]), None
    if mask.shape[1] == 1:
        mask = mask[:, :, None]
    else:
        mask = rearrange(mask, "b (kv group) s k -> b kv group s k", kv=key.shape[1])
    return mask[..., past : past + keys], None if whole_prefix else mask[..., :past]


def _some(mask: Tensor | None, rows: slice) -> Tensor | None:
    return mask if mask is None or len(mask) == 1 else mask[rows]
