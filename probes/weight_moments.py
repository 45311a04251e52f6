"""The first four moments of a weight's entries, from blocks or from counts of values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Sums over finite entries; M2, M3 and M4 are sums of powers of deviations from the mean.

    Attributes:
        entries: How many entries are finite.
        absolute: Sum of |w|.
        mean: Mean of w.
        m2: M2.
        m3: M3.
        m4: M4.
    """

    entries: int
    absolute: float
    mean: float
    m2: float
    m3: float
    m4: float

    @property
    def mean_absolute(self) -> float:
        """Mean of |w|; NaN without entries."""
        return self.absolute / self.entries if self.entries else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation (population); NaN without entries."""
        return math.sqrt(self.m2 / self.entries) if self.entries else math.nan

    @property
    def excess_kurtosis(self) -> float:
        """Excess kurtosis; NaN where all entries are the same."""
        return self.entries * self.m4 / self.m2**2 - 3 if self.m2 > 0 else math.nan

    @property
    def squares(self) -> float:
        """Sum of w²."""
        return self.m2 + self.entries * self.mean**2


_NONE = Moments(0, 0.0, 0.0, 0.0, 0.0, 0.0)


def moments_of_block(block: Tensor) -> Moments:
    """Return the moments of fp32 entries, few enough that their sums can be fp32 too."""
    total = float(block.sum())
    if not math.isfinite(total):
        block = block[block.isfinite()]
        if block.numel() == 0:
            return _NONE
        total = float(block.sum())
    mean = total / block.numel()
    away = block - mean
    squares = away.square()
    m2, m3 = float(squares.sum()), float((away * squares).sum())
    return Moments(block.numel(), float(block.abs().sum()), mean, m2, m3, float(squares.square_().sum()))


def moments_of_counts(values: Tensor, counts: Tensor) -> Moments:
    """Return the moments of entries that are counted by value.

    Args:
        values: Every value there is, ``[n]`` float64.
        counts: How many entries have it, ``[n]`` float64.
    """
    entries = float(counts.sum())
    if entries == 0:
        return _NONE
    mean = float(counts @ values) / entries
    away = values - mean
    squares = away.square()
    return Moments(
        int(entries),
        float(counts @ values.abs()),
        mean,
        float(counts @ squares),
        float(counts @ away.mul_(squares)),
        float(counts @ squares.square_()),
    )


def merged(parts: Sequence[Moments]) -> Moments:
    """Merge blocks exactly (Chan et al. 1979, with Pébay 2008 for the third and fourth moment)."""
    entries, absolute, mean, m2, m3, m4 = 0, 0.0, 0.0, 0.0, 0.0, 0.0
    for part in parts:
        if part.entries == 0:
            continue
        a, b, n = entries, part.entries, entries + part.entries
        gap = part.mean - mean
        m4 += part.m4 + gap**4 * a * b * (a * a - a * b + b * b) / n**3
        m4 += 6 * gap**2 * (a * a * part.m2 + b * b * m2) / n**2 + 4 * gap * (a * part.m3 - b * m3) / n
        m3 += part.m3 + gap**3 * a * b * (a - b) / n**2 + 3 * gap * (a * part.m2 - b * m2) / n
        m2 += part.m2 + gap**2 * a * b / n
        mean += gap * b / n
        absolute += part.absolute
        entries = n
    return Moments(entries, absolute, mean, m2, m3, m4)
