"""A measure of every query and layer, and what is said of it: by layer and as a mean over layers, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..probes import Interval, bootstrap_mean, bootstrap_ratio, mean_over_layers


@dataclass(frozen=True, eq=False)
class LayerMeasure:
    """One measure of N queries in L layers.

    Attributes:
        key: What tells it apart from others, by the columns of a table.
        numerators: Its values ``[N, L]``, NaN where undefined; or what each query adds to the numerator of a ratio.
        denominators: What each query adds to the denominator of that ratio, NaN where undefined.
        of_ratio: What is made of the ratio, or of the mean.
        nulls: Numbers beside it, by their columns: ``[N, L]`` of which the mean over queries is taken, or ``[L]``.
    """

    key: Mapping[str, str]
    numerators: Tensor
    denominators: Tensor | None = None
    of_ratio: Callable[[Tensor], Tensor] | None = None
    nulls: Mapping[str, Tensor] = field(default_factory=dict)

    def interval(self, *, seed: int, resamples: int, level: float, over_layers: bool) -> Interval:
        """Return it by layer ``[L]``, or its mean over layers, resampling queries with all their layers."""

        def statistic(means: Tensor) -> Tensor:
            values = means if self.of_ratio is None else self.of_ratio(means)
            return mean_over_layers(values) if over_layers else values

        if self.denominators is None:
            return bootstrap_mean(
                self.numerators, seed=seed, resamples=resamples, level=level, statistic=statistic
            )
        there = ~self.denominators.isnan()
        return bootstrap_ratio(
            self.numerators.where(there, 0.0),
            self.denominators.where(there, 0.0),
            seed=seed,
            resamples=resamples,
            level=level,
            statistic=statistic,
        )

    @property
    def defined(self) -> Tensor:
        """For how many queries it is defined, ``[L]``."""
        values = self.numerators if self.denominators is None else self.denominators
        return (~values.isnan()).sum(0)

    def rows_by_layer(self, layers: tuple[int, ...], **drawn: Any) -> list[dict[str, Any]]:
        """Return a row a layer: its key, value, low, high, nulls, and for how many queries of how many it is defined.

        Args:
            layers: The layers' numbers.
            drawn: ``seed``, ``resamples`` and ``level`` of the intervals.
        """
        found = self.interval(over_layers=False, **drawn)
        # Where no query has a value a ratio has no interval, whatever is made of it.
        return [
            {
                "layer": layer,
                **self.key,
                **_ends(found, place),
                **{name: float(_by_layer(null)[place]) for name, null in self.nulls.items()},
                "defined": int(self.defined[place]),
                "of": len(self.numerators),
            }
            for place, layer in enumerate(layers)
        ]

    def row_over_layers(self, **drawn: Any) -> dict[str, Any]:
        """Return one row: its key, the mean over layers with its ends, and that of its nulls."""
        found = self.interval(over_layers=True, **drawn)
        return {
            **self.key,
            **_ends(found, None),
            **{name: float(_by_layer(null).nanmean()) for name, null in self.nulls.items()},
        }


def _by_layer(null: Tensor) -> Tensor:
    return null.nanmean(0) if null.dim() == 2 else null


def _ends(interval: Interval, place: int | None) -> dict[str, float]:
    ends = {"value": interval.estimate, "low": interval.low, "high": interval.high}
    return {name: float(torch.atleast_1d(end)[place or 0]) for name, end in ends.items()}
