"""How far weights moved between checkpoints, and whether they went on in the same direction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensor, as_tensors
from .rounding import stored_rounding
from .scratch import scratch

# Entries worked on at once: on a CPU their differences stay in its cache.
_BLOCK = 1 << 16
_ACCELERATED_BLOCK = 1 << 22
_PAIRWISE_BLOCK = 1 << 11


@dataclass(frozen=True)
class Drift:
    """How far one weight matrix moved.

    Attributes:
        mean_absolute: Mean of |ΔW| (Shen et al. App. B, the parameter gap).
        rms: Root of the mean of ΔW².
        relative_frobenius: ‖ΔW‖_F / ‖W_before‖_F; NaN where the matrix was zero.
        entries: How many entries count.
        undefined: Entries that are NaN or infinite in either matrix; all other numbers leave them out.
    """

    mean_absolute: float
    rms: float
    relative_frobenius: float
    entries: int
    undefined: int


def weight_drift(before: ArrayLike, after: ArrayLike) -> Drift:
    """Measure the way from one state of a weight matrix to another.

    Args:
        before: A matrix.
        after: A matrix of the same shape, in any floating point dtype.

    Raises:
        ValueError: If the shapes differ.
    """
    before, after = as_tensors(before, after)
    absolute = squares = size = 0.0
    entries = 0
    for first, second in _blocks(before, after):
        gap = second.sub_(first)
        if not math.isfinite(float(gap.sum())):
            defined = gap.isfinite()
            gap, first = gap[defined], first[defined]
        entries += gap.numel()
        squares += float(gap @ gap)
        size += float(first @ first)
        absolute += float(gap.abs_().sum())
    if entries == 0:
        return Drift(math.nan, math.nan, math.nan, 0, before.numel())
    relative = math.sqrt(squares / size) if size > 0 else math.nan
    return Drift(
        absolute / entries, math.sqrt(squares / entries), relative, entries, before.numel() - entries
    )


def update_cosine(
    first: ArrayLike, second: ArrayLike, third: ArrayLike, *, floor: float | None = None
) -> float:
    """Return the cosine between two successive updates of a weight matrix, W₂ − W₁ and W₃ − W₂.

    The two share W₂, but with opposite signs, so unlike two changes from one baseline they are not alike by that
    alone, and 0 is the null: a random walk has it. What the checkpoints scatter about a path independently of each
    other pulls the cosine down, to −1/2 where nothing else is there, so a cosine above 0 is never made by W₂.

    An update no longer than the rounding of the entries that it moved has no direction: in bf16 most entries stay
    where they are and a few take a whole step. Where every update goes the same way by a tenth of one epsilon, what
    is stored has a cosine of 0.06 instead of 1; at one epsilon, 0.9.

    Args:
        first: W₁, a matrix.
        second: W₂, of the same shape.
        third: W₃, of the same shape.
        floor: Up to which length, relative to the entries that it moved, an update is only rounding. None is that of
            the dtypes that the matrices come in, see `stored_rounding`; hand it in for weights that were stored more
            coarsely.

    Returns:
        A number in [-1, 1]; NaN where one of the updates is zero or only rounding, and over finite entries only.

    Raises:
        ValueError: If the shapes differ.
    """
    first, second, third = as_tensors(first, second, third)
    if floor is None:
        floor = max(stored_rounding(weight.dtype) for weight in (first, second, third))
    dot = one = other = moved_earlier = moved_later = 0.0
    for a, b, c in _blocks(first, second, third):
        later = c.sub_(b)
        earlier = b.sub_(a)
        products = _products(a, earlier, later)
        if not all(map(math.isfinite, products)):
            defined = earlier.isfinite() & later.isfinite()
            products = _products(a[defined], earlier[defined], later[defined])
        dot, one, other, moved_earlier, moved_later = (
            total + product
            for total, product in zip((dot, one, other, moved_earlier, moved_later), products, strict=True)
        )
    defined = one > floor**2 * moved_earlier and other > floor**2 * moved_later
    return dot / math.sqrt(one * other) if defined else math.nan


def _products(first: Tensor, earlier: Tensor, later: Tensor) -> tuple[float, float, float, float, float]:
    """Return the product of the two updates, their squared lengths, and those of the entries that each moved.

    Entries are taken as they are between the updates.
    """
    between = (first + earlier).square_()
    moved = [float(between[update != 0].sum()) for update in (earlier, later)]
    return float(earlier @ later), float(earlier @ earlier), float(later @ later), moved[0], moved[1]


def pairwise_mean_absolute(entries: ArrayLike) -> Tensor:
    """Return the mean of |ΔW| between every two of several checkpoints.

    Args:
        entries: ``[C, n]``, the same n entries of a matrix at C checkpoints.

    Returns:
        ``[C, C]`` float64, symmetric with a zero diagonal; NaN and infinite entries are left out of each pair's
        mean.
    """
    entries = as_tensor(entries)
    total = torch.zeros(len(entries), len(entries), dtype=torch.float64, device=entries.device)
    defined = torch.zeros_like(total)
    for part in entries.split(_PAIRWISE_BLOCK, dim=1):
        values, exists = part.double(), part.isfinite()
        if exists.all():
            total += torch.cdist(values, values, p=1)
        else:
            values = values.masked_fill(~exists, math.nan)
            total += torch.stack([(values - row).abs().nansum(dim=1) for row in values])
        defined += exists.double() @ exists.double().T
    return total / defined


def _blocks(*weights: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same entries of each weight as float64 vectors, in memory that the next ones will overwrite.

    Differences of neighbouring checkpoints are small: half precision would round them away.
    """
    shape, device = weights[0].shape, weights[0].device
    for other in weights[1:]:
        if other.shape != shape:
            raise ValueError(f"weights of shapes {tuple(shape)} and {tuple(other.shape)} do not compare")
    entries = _BLOCK if device.type == "cpu" else _ACCELERATED_BLOCK
    rows = min(shape[0], max(1, entries // max(1, shape[-1])))
    buffers = scratch(len(weights), rows * shape[-1], dtype=torch.float64, device=device)
    for parts in zip(*(weight.split(rows) for weight in weights), strict=True):
        blocks = tuple(buffers[:, : parts[0].numel()])
        for block, part in zip(blocks, parts, strict=True):
            block.view(part.shape).copy_(part)
        yield blocks
