"""What is kept of similarities of many queries: a value for each query and layer, and means over all queries.

Heads of a query and random draws of a query are many times that, and are only ever looked at in the mean. Means are
held as sums and counts, so those of batches add up to those of all queries. Sums are of cosines on a grid, in two
parts that are each exact: however queries are batched, they are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensor
from .options import ScoreVariant

# Parts of a cosine are whole numbers of at most 27 bits on their grid: 2 ** 26 of them add up without rounding.
_COARSE, _FINE = 2.0**26, 2.0**53


def exact_sums(cosines: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return sums `[2, ...]` over an axis of the cosines that are no NaN, and how many there are."""
    scaled = cosines.nan_to_num(0.0) * _COARSE
    coarse = scaled.round()
    fine = ((scaled - coarse) * (_FINE / _COARSE)).round()
    sums = torch.stack([coarse.sum(dim) / _COARSE, fine.sum(dim) / _FINE])
    return sums, (~cosines.isnan()).sum(dim)


@dataclass(frozen=True, eq=False)
class SimAMMeans:
    """SimAM of N queries, without the heads of each (float64, CPU).

    Attributes:
        variant: How the scores were compared, see `sim_am`.
        per_example: `[N, L]` mean over the heads that have a value.
        sums: `[2, L, H]` sum over the examples that have a value, in a coarse and a fine part.
        counts: `[L, H]` how many have one.
    """

    variant: ScoreVariant
    per_example: Tensor
    sums: Tensor
    counts: Tensor

    @property
    def head_profile(self) -> Tensor:
        """`[L, H]` mean over the examples that have a value."""
        return self.sums.sum(0) / self.counts

    @property
    def layer_profile(self) -> Tensor:
        """`[L]` mean over heads, then over examples."""
        return self.per_example.nanmean(0)

    @property
    def defined(self) -> Tensor:
        """`[L]` number of (example, head) pairs with a value."""
        return self.counts.sum(1)

    @staticmethod
    def join(parts: Sequence[SimAMMeans], order: ArrayLike) -> SimAMMeans:
        """Put batches together.

        Args:
            parts: One or more, of one variant.
            order: `[N]` which row of all batches below each other belongs to each example.
        """
        return SimAMMeans(
            parts[0].variant, *_joined([(part.per_example, part.sums, part.counts) for part in parts], order)
        )


@dataclass(frozen=True, eq=False)
class NullMeans:
    """SimAOU under a null for R random draws, without the draws of each query (float64, CPU).

    Attributes:
        kind: Which null, see `sim_aou_null`.
        values: `[N, L]` mean over draws.
        sums: `[2, R, L]` sum over the examples that have a value, in a coarse and a fine part.
        counts: `[R, L]` how many have one.
    """

    kind: str
    values: Tensor
    sums: Tensor
    counts: Tensor

    @property
    def draw_profiles(self) -> Tensor:
        """`[R, L]` mean over examples in each draw."""
        return self.sums.sum(0) / self.counts

    @property
    def layer_profile(self) -> Tensor:
        """`[L]` mean over examples, then over draws."""
        return self.draw_profiles.nanmean(0)

    @staticmethod
    def join(parts: Sequence[NullMeans], order: ArrayLike) -> NullMeans:
        """Put batches together, as `SimAMMeans.join` does."""
        return NullMeans(
            parts[0].kind, *_joined([(part.values, part.sums, part.counts) for part in parts], order)
        )


def _joined(
    parts: Sequence[tuple[Tensor, Tensor, Tensor]], order: ArrayLike
) -> tuple[Tensor, Tensor, Tensor]:
    values, sums, counts = zip(*parts, strict=True)
    return torch.cat(values)[as_tensor(order)], torch.stack(sums).sum(0), torch.stack(counts).sum(0)
