"""Uncertainty: bootstrap over queries, spread over demonstration draws, and derangements.

The bootstrap resamples queries and keeps everything measured on a query together. Its interval answers for
other queries with the same demonstrations; how much depends on the demonstrations only several draws can tell
(`mean_and_std`). One seed gives one set of resamples, so intervals of several measures on the same queries
are paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensor, as_tensors
from .vectors import CHUNK_ELEMENTS, as_float64

Statistic = Callable[[Tensor], Tensor]
"""From the means of R resamples `[R, ...]` to one or more numbers for each, `[R, ...]`."""

SCOPE = "one draw of demonstrations"


@dataclass(frozen=True, eq=False)
class Interval:
    """A percentile bootstrap interval, for one number or for a tensor of them.

    Attributes:
        estimate: `[...]` the statistic of the queries themselves; 0-dimensional for one number.
        low: `[...]` lower end; NaN where fewer than two queries have a value.
        high: `[...]` upper end.
        level: Share of the resamples between `low` and `high`.
        resamples: How many resamples, R.
        undefined: `[...]` resamples in which the statistic was NaN; they are left out.
        scope: What the interval holds for.
    """

    estimate: Tensor
    low: Tensor
    high: Tensor
    level: float
    resamples: int
    undefined: Tensor
    scope: str = SCOPE

    def __post_init__(self) -> None:
        """Check the shapes."""
        shapes = [tuple(part.shape) for part in (self.estimate, self.low, self.high, self.undefined)]
        if len(set(shapes)) != 1:
            raise ValueError(f"estimate, low, high and undefined must have one shape, got {shapes}")


@dataclass(frozen=True, eq=False)
class MeanAndStd:
    """Mean and sample standard deviation over repetitions.

    Attributes:
        mean: `[...]` mean of the defined values.
        std: `[...]` standard deviation (ddof 1); NaN with fewer than two defined values.
        count: `[...]` number of defined values.
    """

    mean: Tensor
    std: Tensor
    count: Tensor

    def __post_init__(self) -> None:
        """Check the shapes."""
        if not self.mean.shape == self.std.shape == self.count.shape:
            raise ValueError(
                f"mean, std and count must have one shape, got {tuple(self.mean.shape)}, "
                f"{tuple(self.std.shape)}, {tuple(self.count.shape)}"
            )


def bootstrap_mean(
    values: ArrayLike,
    *,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
    statistic: Statistic | None = None,
) -> Interval:
    """Bootstrap the mean over queries, leaving NaN values out.

    Queries are resampled with replacement, jointly for all layers and heads. Memory grows with R times the
    number of values of one query, not with R times N.

    Args:
        values: `[N, ...]` one row per query.
        seed: Seed of the resamples.
        resamples: How many resamples, R.
        level: Coverage of the percentile interval.
        statistic: What to make of the means of a resample before taking quantiles, such as
            `mean_over_layers`; None takes each mean by itself.

    Returns:
        Interval of shape `[...]`, or of the shape the statistic leaves.

    Raises:
        ValueError: `values` is a scalar or holds infinity, or `resamples` or `level` make no sense.
    """
    values = as_tensor(values)
    values = as_float64(values)
    defined = ~values.isnan()
    numerators = torch.where(defined, values, 0.0)
    if bool(defined.all()):
        defined = defined.new_ones(values.shape[:1] + (1,) * (values.ndim - 1))
    return bootstrap_ratio(
        numerators, defined, seed=seed, resamples=resamples, level=level, statistic=statistic
    )


def bootstrap_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
    statistic: Statistic | None = None,
) -> Interval:
    """Bootstrap a ratio of sums over queries, such as an accuracy or a Jaccard index.

    Args:
        numerators: `[N, ...]` what each query adds to the numerator.
        denominators: `[N, ...]` what it adds to the denominator, not negative; broadcastable to `numerators`.
        seed: Seed of the resamples.
        resamples: How many resamples, R.
        level: Coverage of the percentile interval.
        statistic: As in `bootstrap_mean`.

    Returns:
        Interval of the ratios of the sums; resamples with an empty denominator are left out and counted.

    Raises:
        ValueError: Shapes do not fit, a value is not finite, a denominator is negative, or `resamples` or
            `level` make no sense.
    """
    numerators, denominators = as_tensors(numerators, denominators)
    numerators = as_float64(numerators)
    denominators = as_float64(denominators)
    _check_terms(numerators, denominators)
    if resamples < 1 or not 0.0 < level < 1.0:
        raise ValueError(f"expected resamples >= 1 and 0 < level < 1, got {resamples} and {level}")
    examples, *shape = numerators.shape
    denominator_shape = denominators.shape[1:]
    split = math.prod(shape)
    terms = torch.cat(
        [numerators.reshape(examples, split), denominators.reshape(examples, math.prod(denominator_shape))],
        dim=1,
    )

    def finish(sums: Tensor) -> Tensor:
        ratios = sums[:, :split].reshape(-1, *shape) / sums[:, split:].reshape(-1, *denominator_shape)
        return ratios if statistic is None else statistic(ratios)

    estimate = finish(terms.sum(0, keepdim=True))[0]
    drawn = finish(torch.cat([counts @ terms for counts in _resample_counts(examples, resamples, seed)]))
    low, high = (_nan_quantile(drawn, (1 + sign * level) / 2) for sign in (-1, 1))
    counted = (denominators > 0).expand_as(numerators)
    if statistic is None:
        too_few = counted.sum(0) < 2
    else:
        too_few = (counted.reshape(examples, split).any(1).sum() < 2).expand(estimate.shape)
    return Interval(
        estimate=estimate,
        low=low.masked_fill(too_few, torch.nan),
        high=high.masked_fill(too_few, torch.nan),
        level=level,
        resamples=resamples,
        undefined=drawn.isnan().sum(0),
    )


def mean_over_layers(means: ArrayLike) -> Tensor:
    """Return the mean `[R]` over layers of `[R, L]`, leaving NaN layers out, as SimAOU and SimAM do."""
    means = as_tensor(means)
    return means.nanmean(1)


def mean_and_std(values: ArrayLike | Sequence[float]) -> MeanAndStd:
    """Return mean and standard deviation (ddof 1) over the first axis, leaving NaN out.

    Args:
        values: `[S, ...]` one value per repetition, such as one per draw of demonstrations.

    Raises:
        ValueError: `values` is a scalar.
    """
    values = as_float64(torch.tensor(values) if isinstance(values, Sequence) else as_tensor(values))
    if values.ndim == 0:
        raise ValueError("expected values [S, ...] with one row per repetition, got a scalar")
    count = (~values.isnan()).sum(0)
    mean = values.nanmean(0)
    variance = (values - mean).square().nansum(0) / (count - 1).clamp(min=1)
    return MeanAndStd(mean, variance.sqrt().masked_fill(count < 2, torch.nan), count)


def derangement(n: int, seed: int | np.random.Generator) -> Tensor:
    """Return a permutation `[n]` of `0..n-1` without a fixed point, uniform among all of them.

    Args:
        n: How many, at least 2.
        seed: Seed, or a generator to go on drawing from.

    Raises:
        ValueError: `n < 2`, for which there is none.
    """
    if n < 2:
        raise ValueError(f"a derangement needs at least two elements, got n={n}")
    generator = np.random.default_rng(seed)
    places = np.arange(n)
    while True:
        # About one permutation in e has no fixed point, whatever n, so a few tries are enough.
        permutation = generator.permutation(n)
        if not (permutation == places).any():
            return torch.from_numpy(permutation)


def _resample_counts(examples: int, resamples: int, seed: int) -> Iterator[Tensor]:
    """Yield how often each query stands in each resample, `[r, N]` float64, in chunks of resamples."""
    generator = np.random.default_rng(seed)
    step = max(1, CHUNK_ELEMENTS // max(1, examples))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(examples, size=(rows, examples))
        drawn += np.arange(rows)[:, None] * examples
        counts = np.bincount(drawn.reshape(-1), minlength=rows * examples).reshape(rows, examples)
        yield torch.from_numpy(counts).to(torch.float64)


def _nan_quantile(values: Tensor, quantile: float) -> Tensor:
    """Return the quantile over the first axis with linear interpolation, leaving NaN out.

    Unlike `torch.nanquantile` it has no limit on the number of elements.
    """
    ordered = values.sort(dim=0).values  # NaN sorts last
    last = ((~ordered.isnan()).sum(0) - 1).clamp(min=0)
    position = last.to(values.dtype) * quantile
    below = position.floor().long()
    above = torch.minimum(below + 1, last)
    at_below, at_above = (ordered.gather(0, place[None])[0] for place in (below, above))
    return torch.lerp(at_below, at_above, position - below)


def _check_terms(numerators: Tensor, denominators: Tensor) -> None:
    if numerators.ndim == 0 or denominators.ndim != numerators.ndim:
        raise ValueError(
            "expected [N, ...] with one row per query, "
            f"got {tuple(numerators.shape)} and {tuple(denominators.shape)}"
        )
    fits = all(
        have in (1, want) for have, want in zip(denominators.shape[1:], numerators.shape[1:], strict=True)
    )
    if len(denominators) != len(numerators) or not fits:
        raise ValueError(
            f"denominators {tuple(denominators.shape)} do not fit numerators {tuple(numerators.shape)}"
        )
    if not bool(torch.isfinite(numerators).all() and torch.isfinite(denominators).all()):
        raise ValueError(f"values of shape {tuple(numerators.shape)} to bootstrap hold infinity or NaN terms")
    if bool((denominators < 0).any()):
        raise ValueError(f"denominators must not be negative, the smallest is {float(denominators.min())}")
