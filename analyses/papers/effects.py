"""A measured effect with its interval, and what a claim makes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ...probes import bootstrap_mean, bootstrap_ratio, mean_and_std

Verdict = Literal["holds", "fails", "undecided"]

# Two-sided 95% quantiles of Student's t for 1, 2, … degrees of freedom; beyond, the normal distribution's.
_STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NORMAL = 1.96


@dataclass(frozen=True)
class Effect:
    """A number with a 95% interval.

    Attributes:
        value: The number.
        low: Lower end; NaN where there is no interval.
        high: Upper end.
        basis: What the interval is over.
    """

    value: float
    low: float
    high: float
    basis: str


@dataclass(frozen=True)
class Criterion:
    """Where an effect must lie for a claim to hold.

    Attributes:
        above: The effect must be larger.
        below: The effect must be smaller.
    """

    above: float = -math.inf
    below: float = math.inf

    def __post_init__(self) -> None:
        """Check that something is asked."""
        if not self.above < self.below or (math.isinf(self.above) and math.isinf(self.below)):
            raise ValueError(f"a criterion needs a bound, got above {self.above} and below {self.below}")

    def __str__(self) -> str:
        """Return it as text."""
        if math.isinf(self.below):
            return f"> {self.above:g}"
        if math.isinf(self.above):
            return f"< {self.below:g}"
        return f"{self.above:g} to {self.below:g}"

    def judge(self, effect: Effect) -> Verdict:
        """Return ``holds`` if the whole interval lies inside, ``fails`` if it lies outside, else ``undecided``.

        Args:
            effect: The measured effect; without an interval it is undecided.
        """
        low, high = effect.low, effect.high
        if any(math.isnan(value) for value in (effect.value, low, high)):
            return "undecided"
        if low > self.above and high < self.below:
            return "holds"
        if high <= self.above or low >= self.below:
            return "fails"
        return "undecided"


def over_units(values: Sequence[float], unit: str) -> Effect:
    """Return the mean of repetitions with Student's 95% interval, leaving NaN out.

    Args:
        values: One value for each repetition.
        unit: What a repetition is, such as ``draws of demonstrations``.
    """
    result = mean_and_std([float(value) for value in values] or [math.nan])
    count, mean, std = int(result.count), float(result.mean), float(result.std)
    if count < 2:
        return Effect(mean, math.nan, math.nan, f"{count} of {unit}: no interval")
    quantile = _STUDENT[count - 2] if count - 1 <= len(_STUDENT) else _NORMAL
    half = quantile * std / math.sqrt(count)
    return Effect(mean, mean - half, mean + half, f"Student's t over {count} {unit}")


def over_queries(values: Tensor) -> Effect:
    """Return the mean over queries with a 95% bootstrap interval.

    Args:
        values: ``[N]``, NaN where a query has no value.
    """
    interval = bootstrap_mean(values, seed=0)
    basis = f"bootstrap over {len(values)} queries"
    return Effect(float(interval.estimate), float(interval.low), float(interval.high), basis)


def ratio_over_queries(numerators: Tensor, denominators: Tensor) -> Effect:
    """Return 100 × a ratio of sums over queries with a 95% bootstrap interval.

    Args:
        numerators: ``[N]``.
        denominators: ``[N]``.
    """
    interval = bootstrap_ratio(100 * numerators, denominators, seed=0)
    basis = f"bootstrap over {len(numerators)} queries"
    return Effect(float(interval.estimate), float(interval.low), float(interval.high), basis)


def share_that(effects: Sequence[Effect], criterion: Criterion, what: str) -> Effect:
    """Return the share of effects that meet a criterion; those that are undecided span the interval.

    Args:
        effects: One for each case, such as each task.
        criterion: What they must meet.
        what: What the cases are.
    """
    defined = [effect for effect in effects if not math.isnan(effect.value)]
    if not defined:
        return Effect(math.nan, math.nan, math.nan, f"none of {len(effects)} {what} is defined")
    verdicts = [criterion.judge(effect) for effect in defined]
    met = [criterion.above < effect.value < criterion.below for effect in defined]
    count = len(defined)
    return Effect(
        sum(met) / count,
        verdicts.count("holds") / count,
        1 - verdicts.count("fails") / count,
        f"{count} of {len(effects)} {what}, by the interval of each",
    )


def fitted_change(values: Sequence[float]) -> Effect:
    """Return how much a straight line through values changes from the first to the last, relative to their mean.

    Args:
        values: In order, such as one for each layer; at least three.
    """
    count = len(values)
    places = [index / (count - 1) for index in range(count)]
    middle, mean = 0.5, sum(values) / count
    spread = sum((place - middle) ** 2 for place in places)
    slope = (
        sum((place - middle) * (value - mean) for place, value in zip(places, values, strict=True)) / spread
    )
    residuals = [value - mean - slope * (place - middle) for place, value in zip(places, values, strict=True)]
    degrees = count - 2
    basis = f"line through {count} layers, Student's t"
    if degrees < 1 or mean == 0:
        return Effect(math.nan, math.nan, math.nan, basis)
    error = math.sqrt(sum(residual**2 for residual in residuals) / degrees / spread)
    quantile = _STUDENT[degrees - 1] if degrees <= len(_STUDENT) else _NORMAL
    return Effect(slope / mean, (slope - quantile * error) / mean, (slope + quantile * error) / mean, basis)
