"""Means over draws and paired differences, with what a statistics library says of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import UserError

_LEAST_P = 0.05
_RESAMPLES = 9999
_SEED = 0


@dataclass(frozen=True)
class MeanOverDraws:
    """A mean and how sure it is.

    Attributes:
        draws: Over how many.
        mean: The mean.
        std: The standard deviation (ddof 1); NaN of a single draw.
        low: Lower end of Student's interval; NaN of a single draw.
        high: Upper end.
    """

    draws: int
    mean: float
    std: float
    low: float
    high: float


def mean_over_draws(values: Sequence[float], level: float) -> MeanOverDraws:
    """Return the mean of values with Student's interval.

    Args:
        values: One a draw, at least one.
        level: Coverage of the interval.

    Raises:
        UserError: If scipy is not installed.
    """
    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return MeanOverDraws(count, mean, math.nan, math.nan, math.nan)
    std = float(np.std(values, ddof=1))
    half = float(_stats().t.ppf((1 + level) / 2, count - 1)) * std / math.sqrt(count)
    return MeanOverDraws(count, mean, std, mean - half, mean + half)


def paired_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the permutation test that swaps the two of a pair.

    Of n pairs it cannot be smaller than 2 / 2ⁿ; where that exceeds 0.05 it is NaN, for it could find nothing.

    Args:
        differences: One a draw.

    Raises:
        UserError: If scipy is not installed.
    """
    values = np.asarray(differences, dtype=float)
    if 2.0 ** (1 - len(values)) > _LEAST_P:
        return math.nan
    tested = _stats().permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        alternative="two-sided",
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(_SEED),
    )
    return float(tested.pvalue)


def _stats():
    try:
        from scipy import stats
    except ImportError as error:
        raise UserError("intervals over draws need scipy: pip install 'iclprobe[stats]'") from error
    return stats
