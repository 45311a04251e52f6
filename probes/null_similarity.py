"""A null of SimAOU: what it would be under R random draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensor
from .similarity_means import NullMeans, exact_sums
from .statistics import mean_and_std

NullKind = Literal[
    "gaussian", "uniform01_update", "uniform_hidden_minus_zsl", "permuted_pairs", "shared_baseline"
]


@dataclass(frozen=True, eq=False)
class NullSimilarity:
    """SimAOU under a null, for R random draws (float64, CPU).

    Attributes:
        kind: Which null.
        draws: `[R, N, L]` similarity in each draw, NaN where it is undefined.
    """

    kind: NullKind
    draws: Tensor

    def __post_init__(self) -> None:
        """Check the shape and the name."""
        if self.draws.ndim != 3 or self.draws.shape[0] == 0:
            raise ValueError(f"expected draws [R, N, L] with R >= 1, got shape {tuple(self.draws.shape)}")
        if self.kind not in get_args(NullKind):
            raise ValueError(f"unknown null {self.kind!r}, choose one of {', '.join(get_args(NullKind))}")

    @property
    def values(self) -> Tensor:
        """`[N, L]` mean over draws."""
        return self.draws.nanmean(0)

    @property
    def undefined(self) -> Tensor:
        """`[L]` number of examples without a value in any draw."""
        return self.values.isnan().sum(0)

    @property
    def layer_profile(self) -> Tensor:
        """`[L]` mean over examples, then over draws."""
        return self.draws.nanmean(1).nanmean(0)

    @property
    def layer_std(self) -> Tensor:
        """`[L]` standard deviation over draws (ddof 1) of the layer profile; NaN for a single draw."""
        return mean_and_std(self.draws.nanmean(1)).std

    @property
    def mean(self) -> float:
        """Mean over layers of the layer profile."""
        return float(self.layer_profile.nanmean())

    @property
    def std(self) -> float:
        """Standard deviation over draws (ddof 1) of the mean over layers; NaN for a single draw."""
        return float(mean_and_std(self.draws.nanmean(1).nanmean(1)).std)

    def means(self) -> NullMeans:
        """Return what is left without the draws of each example."""
        sums, counts = exact_sums(self.draws, 0)
        return NullMeans(self.kind, sums.sum(0) / counts, *exact_sums(self.draws, 1))

    def select(self, examples: ArrayLike) -> NullSimilarity:
        """Return the null for these examples: a bool mask `[N]`, or indices in the order wanted."""
        examples = as_tensor(examples)
        return NullSimilarity(self.kind, self.draws[:, examples])

    @staticmethod
    def concatenate(parts: Sequence[NullSimilarity]) -> NullSimilarity:
        """Join the nulls of successive batches (same kind, same number of draws) along the example axis.

        Raises:
            ValueError: There is none, or they are of different kinds.
        """
        if len({part.kind for part in parts}) != 1:
            raise ValueError(f"expected parts of one kind of null, got {[part.kind for part in parts]}")
        return NullSimilarity(parts[0].kind, torch.cat([part.draws for part in parts], dim=1))


def undefined_null(kind: NullKind, draws: int, examples: int, layers: int) -> NullSimilarity:
    """Return a null without a value, as a single query has where another is needed."""
    return NullSimilarity(kind, torch.full((draws, examples, layers), torch.nan, dtype=torch.float64))
