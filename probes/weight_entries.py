"""The entries of a weight matrix, head by head: their moments, and how many are below a threshold.

Two ways to the same numbers. A half-precision entry has one of 65,536 bit patterns, so one pass that counts
patterns says everything; fp32 entries take a pass for each threshold over blocks that stay in a processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from .scratch import scratch
from .weight_moments import Moments, merged, moments_of_block, moments_of_counts

# Entries worked on at once. Counting costs all 65,536 counts a block, so its blocks are larger.
_COUNTED_BLOCK = 1 << 18
_BLOCK = 1 << 16
# Up to here a sum of ones in fp32 is exact.
_ACCELERATED_BLOCK = 1 << 24
# Numbers of the bit patterns of entries below 2, and of all.
_FEW_NUMBERS, _ALL_NUMBERS = 1 << 15, 1 << 16


class WeightEntries(Protocol):
    """What is asked of the entries of a matrix.

    Attributes:
        moments: Of all finite entries.
    """

    moments: Moments

    def below(self, limits: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Count entries with fp32 |w| < δ, which no NaN and no infinity has, and entries that are neither.

        Returns:
            Both of each head: ``[H, T]`` and ``[H]``, float64 on the CPU.
        """
        ...


def weight_entries(weight: Tensor, heads: int) -> WeightEntries:
    """Return the entries of a floating point matrix whose rows hold so many heads."""
    if weight.dtype in (torch.bfloat16, torch.float16):
        return CountedEntries(weight, heads)
    return BlockedEntries(weight, heads)


def largest_entry(weight: Tensor) -> float:
    """Return the largest |w|; NaN where an entry is NaN."""
    # Both ends in one pass, and no copy of the weight: its size is what counts.
    low, high = (weight if weight.dtype.itemsize > 1 else weight.float()).aminmax()
    return max(-float(low), float(high))


class CountedEntries:
    """Entries of a half-precision matrix, counted by bit pattern; numbers are exact but for one final rounding.

    Attributes:
        moments: Of all finite entries.
    """

    def __init__(self, weight: Tensor, heads: int) -> None:
        """Count the patterns; counts take 128 KiB a head on the weight's device, 256 if an entry is 2 or more."""
        self._finite = _finite_values(weight.dtype, weight.device)
        counted = torch.int32 if weight.numel() < 1 << 31 else torch.int64
        self._counts = scratch(heads, _FEW_NUMBERS, dtype=counted, device=weight.device)
        last = None
        for head, block in _blocks(weight, heads, _COUNTED_BLOCK):
            found = _count_numbers(block)
            if len(found) > self._counts.shape[1]:
                self._counts = pad(self._counts, (0, _ALL_NUMBERS - _FEW_NUMBERS))
            row = self._counts[head, : len(found)]
            if head == last:
                row += found
            else:
                row.copy_(found)
            last = head
        whole = self._counts.sum(0, dtype=counted)[: 2 * len(self._finite)]
        numbers = whole.nonzero()[:, 0]
        values = self._finite[numbers >> 1].double() * (1 - 2 * (numbers & 1))
        self.moments = moments_of_counts(values, whole[numbers].double())

    def below(self, limits: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Count entries with fp32 |w| < δ, and defined entries, of each head."""
        compared = torch.tensor(limits, dtype=torch.float32, device=self._finite.device)
        # How many finite values are smaller is the first pattern that is not.
        ranks = torch.searchsorted(self._finite, compared).masked_fill(compared.isnan(), 0)
        sums = self._sums([*ranks.tolist(), len(self._finite)])
        return sums[:, :-1], sums[:, -1]

    def _sums(self, ranks: Sequence[int]) -> Tensor:
        """Return how many entries of each head have one of the first patterns, ``[H, T]``."""
        sums = {0: torch.zeros_like(self._counts[:, 0])}
        start = 0
        for rank in sorted(set(ranks) - {0}):
            between = self._counts[:, 2 * start : 2 * rank].sum(1, dtype=self._counts.dtype)
            sums[rank] = sums[start] + between
            start = rank
        return torch.stack([sums[rank] for rank in ranks], dim=1).to("cpu", torch.float64)


@lru_cache
def _finite_values(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the finite values of a half-precision dtype from 0 up, ``[n]`` fp32.

    Without the sign bit patterns rise with what they stand for: zero, subnormal, normal, ∞, NaN.
    """
    values = torch.arange(1 << 15, dtype=torch.int16, device=device).view(dtype).float()
    return values[: int((values < torch.inf).sum())]


def _count_numbers(block: Tensor) -> Tensor:
    """Count bit patterns by a number that rises with |w|: the sign bit is moved to the low end.

    Half-precision patterns below that of 2.0 stay within 15 bits, so that int16 does for nearly all weights.
    """
    bits = block.view(torch.int16).flatten()
    # The sign as an int16, and not as a boolean, is several times faster.
    numbers = torch.lt(bits, 0, out=torch.empty_like(bits)).add_(bits, alpha=2)
    try:
        return torch.bincount(numbers, minlength=_FEW_NUMBERS)
    except RuntimeError:
        # It looks for negative numbers itself, so there is no need to look first: an entry is 2 or more.
        return torch.bincount(numbers.view(torch.uint16).to(torch.int32), minlength=_ALL_NUMBERS)


class BlockedEntries:
    """Entries of any floating point matrix, compared as fp32 and summed block by block.

    Attributes:
        moments: Of all finite entries.
    """

    def __init__(self, weight: Tensor, heads: int) -> None:
        """Go through the matrix once for the moments."""
        self._weight, self._heads = weight, heads
        self._block = _BLOCK if weight.device.type == "cpu" else _ACCELERATED_BLOCK
        self._defined = torch.zeros(heads, dtype=torch.float64)
        parts = []
        for head, block in _blocks(weight, heads, self._block):
            parts.append(moments_of_block(block.float()))
            self._defined[head] += parts[-1].entries
        self.moments = merged(parts)

    def below(self, limits: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Count entries with fp32 |w| < δ, and defined entries, of each head."""
        compared = torch.tensor(limits, dtype=torch.float32).tolist()
        counts = torch.zeros(self._heads, len(limits), dtype=torch.float64)
        for head, block in _blocks(self._weight, self._heads, self._block):
            sizes = block.float().abs()
            # Ones and zeros as fp32 rather than as booleans: comparing and summing are both several times faster.
            small = torch.empty_like(sizes)
            found = [torch.lt(sizes, limit, out=small).sum() for limit in compared]
            counts[head] += torch.stack(found).cpu()
        return counts, self._defined


def _blocks(weight: Tensor, heads: int, entries: int) -> Iterator[tuple[int, Tensor]]:
    """Yield blocks of at most so many entries that belong to one head, with the head, in the order of memory."""
    rows = max(1, entries // weight.shape[1])
    turned = weight.stride(0) < weight.stride(1)
    for head, part in enumerate(weight.chunk(heads)):
        for strip in part.split(rows):
            for block in strip.split(entries, dim=1):
                yield head, block.T if turned else block
