"""What a weight matrix looks like: how many of its entries are near zero, and how they are spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .arrays import ArrayLike, as_tensor
from .options import THRESHOLDS
from .spectral_norm import spectral_norm
from .weight_entries import weight_entries
from .weight_moments import Moments


@dataclass(frozen=True, eq=False)
class WeightStatistics:
    """How sparse one weight matrix is, and how its entries are spread.

    Attributes:
        thresholds: The thresholds δ.
        below: Fraction of entries with |w| < δ, ``[T]`` float64.
        below_relative: Fraction of entries with |w| < δ · std(W), ``[T]`` float64.
        head_below: `below` of each head, ``[H, T]`` float64; None where heads are unknown.
        head_below_relative: `below_relative` of each head, ``[H, T]`` float64.
        mean_absolute: Mean of |w|.
        standard_deviation: Of the entries (population).
        excess_kurtosis: Of the entries: 0 for a normal distribution, NaN for a constant matrix.
        stable_rank: ‖W‖²_F / ‖W‖²₂: 1 for a matrix of rank one, NaN for a matrix of zeros. Its relative error is
            twice that of `spectral_norm`, a few 1e-5 and from above, where the matrix is too large to decompose.
        entries: How many entries count.
        undefined: How many entries are NaN or infinite; all other numbers leave them out.
    """

    thresholds: tuple[float, ...]
    below: Tensor
    below_relative: Tensor
    head_below: Tensor | None
    head_below_relative: Tensor | None
    mean_absolute: float
    standard_deviation: float
    excess_kurtosis: float
    stable_rank: float
    entries: int
    undefined: int

    def __post_init__(self) -> None:
        """Check that there is one fraction a threshold."""
        wanted = (len(self.thresholds),)
        if tuple(self.below.shape) != wanted or tuple(self.below_relative.shape) != wanted:
            raise ValueError(f"expected {wanted[0]} fractions, got {tuple(self.below.shape)}")


def weight_statistics(
    weight: ArrayLike,
    thresholds: Sequence[float] = THRESHOLDS,
    *,
    heads: int | None = None,
    stable_rank: bool = True,
) -> WeightStatistics:
    """Measure one weight matrix (Shen et al. §3.2: the sparsity ratio SR_δ, absolute and relative).

    Entries are compared as fp32, whatever the weight's dtype, on the weight's device.

    Args:
        weight: ``[heads · head width, d]``, the rows of one head together; for W_O give the transpose.
        thresholds: Thresholds δ, each at least 0.
        heads: How many heads the rows hold; None where that is unknown.
        stable_rank: Whether to measure the stable rank, which takes longer than all the rest.

    Raises:
        ValueError: If the weight is no matrix of floating point entries, its rows are not divisible by
            `heads`, or a threshold is negative.
    """
    weight = as_tensor(weight)
    count = 1 if heads is None else heads
    require_weight(weight, count)
    limits = require_thresholds(thresholds)
    entries = weight_entries(weight, count)
    moments = entries.moments
    counts, defined = entries.below([*limits, *(limit * moments.deviation for limit in limits)])
    fractions = (counts.sum(0) / defined.sum()).split(len(limits))
    of_heads = (counts / defined[:, None]).split(len(limits), dim=1)
    undefined = weight.numel() - moments.entries
    return WeightStatistics(
        limits,
        fractions[0],
        fractions[1],
        None if heads is None else of_heads[0],
        None if heads is None else of_heads[1],
        moments.mean_absolute,
        moments.deviation,
        moments.excess_kurtosis,
        _stable_rank(weight, moments, undefined) if stable_rank else math.nan,
        moments.entries,
        undefined,
    )


def fraction_below(weight: ArrayLike, thresholds: Sequence[float], *, relative: bool = False) -> Tensor:
    """Return the fraction of entries with |w| < δ for each threshold, or with |w| < δ · std(W) if relative.

    Args:
        weight: A matrix.
        thresholds: Thresholds δ, each at least 0.
        relative: Whether thresholds count in standard deviations of the matrix.

    Returns:
        ``[T]`` float64; NaN and infinite entries are left out.
    """
    weight = as_tensor(weight)
    statistics = weight_statistics(weight, thresholds, stable_rank=False)
    return statistics.below_relative if relative else statistics.below


def require_weight(weight: Tensor, heads: int = 1) -> None:
    """Refuse what is no matrix of floating point entries with so many heads in its rows.

    Raises:
        ValueError: It says what was given.
    """
    if weight.dim() != 2 or not weight.is_floating_point() or weight.numel() == 0:
        raise ValueError(
            f"expected a matrix of floating point entries, got {weight.dtype} {tuple(weight.shape)}"
        )
    if heads < 1 or weight.shape[0] % heads:
        raise ValueError(f"{weight.shape[0]} rows do not hold {heads} heads")


def require_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    """Return thresholds as a tuple.

    Raises:
        ValueError: If there is none, or one is negative or no number.
    """
    if not thresholds or not all(limit >= 0 for limit in thresholds):
        raise ValueError(f"thresholds must be numbers of at least 0, got {list(thresholds)}")
    return tuple(float(limit) for limit in thresholds)


def _stable_rank(weight: Tensor, moments: Moments, undefined: int) -> float:
    if undefined or moments.squares == 0:
        return math.nan
    return moments.squares / spectral_norm(weight) ** 2
