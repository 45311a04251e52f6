"""Parts of an update of activations and nulls of their length: along another one, means of others, Gaussians."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensor, as_tensors
from .vectors import as_float64, example_slices


def along(update: ArrayLike, direction: ArrayLike) -> Tensor:
    """Return the part of an update that lies along a direction; the rest of it is the remainder.

    Args:
        update: ``[..., d]``.
        direction: ``[..., d]``; one of exactly zero has no direction, and nothing lies along it.

    Returns:
        ``[..., d]`` in float64: ⟨u, f⟩ / ‖f‖² · f.
    """
    update, direction = map(as_float64, as_tensors(update, direction))
    square = direction.square().sum(dim=-1, keepdim=True)
    slope = (update * direction).sum(dim=-1, keepdim=True) / torch.where(square > 0, square, 1.0)
    return slope * direction


def halves(queries: int, seed: int) -> Tensor:
    """Return which half each query belongs to, 0 or 1, ``[N]``; drawn at random, the first no smaller.

    Args:
        queries: How many, at least 2.
        seed: Seed of the draw.

    Raises:
        ValueError: If there are fewer than two.
    """
    if queries < 2:
        raise ValueError(f"two halves need at least two queries, got {queries}")
    half = torch.zeros(queries, dtype=torch.long)
    half[np.random.default_rng(seed).permutation(queries)[(queries + 1) // 2 :].copy()] = 1
    return half


def means_of_halves(before: ArrayLike, after: ArrayLike, half: ArrayLike) -> Tensor:
    """Return the mean update of each half, ``[2, ...]`` in float64; a query is judged with that of the other.

    Args:
        before: What is updated, ``[N, ...]``.
        after: What it becomes.
        half: As `halves` gives it.
    """
    before, after, half = as_tensors(before, after, half)
    total = torch.zeros(2, *before.shape[1:], dtype=torch.float64)
    for rows in example_slices(len(before), before[:1].numel()):
        total.index_add_(0, half[rows].cpu(), as_float64(after[rows]) - as_float64(before[rows]))
    counts = torch.bincount(half.cpu(), minlength=2)
    return total / counts.reshape(-1, *(1 for _ in before.shape[1:]))


def gaussian_of_length(lengths: ArrayLike, width: int, seed: int) -> Tensor:
    """Return Gaussian directions of given lengths, ``[..., width]`` in float64.

    Args:
        lengths: ``[...]``.
        width: Of each vector.
        seed: Seed of the draw.
    """
    lengths = as_float64(as_tensor(lengths))
    drawn = torch.from_numpy(np.random.default_rng(seed).standard_normal((*lengths.shape, width)))
    return lengths[..., None] * drawn / torch.linalg.vector_norm(drawn, dim=-1, keepdim=True)
