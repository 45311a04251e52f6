"""Where recipes lie between two that imitate ICL: what it says alone, and what it is inside."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ...models.recipe import Recipe
from ...probes import bootstrap_mean
from ...seeds import derive_seed
from ...study.finding import Finding
from ...study.names import PARTIAL, WAY_FINDING
from .measures import Intervals
from .query_values import LABEL_KL, over_layers_and_draws, query_values
from .rows import Rows

_LIKENESS = ("SimAOU", PARTIAL)


def imitation_findings(
    tables: Rows, recipes: Mapping[str, Recipe], intervals: Intervals
) -> Iterator[Finding]:
    """Return how far every recipe has come from ICL's answers, and from the floor of a similarity to its ceiling.

    Nothing where no recipe imitates ICL. The way is (recipe − floor) / (ceiling − floor), with the same resampled
    queries in all three: floor is the recipe that imitates what ICL says, ceiling the one that imitates its inside.
    It is undefined where the ceiling is not above the floor.

    Args:
        tables: The tables of the comparisons.
        recipes: The recipes by their names.
        intervals: How intervals are made.
    """
    floors, ceilings = (
        [name for name, recipe in recipes.items() if recipe.objective == objective]
        for objective in ("distill_icl", "match_icl")
    )
    if not floors and not ceilings:
        return
    for shots in dict.fromkeys(tables["over_draws"]["shots"].tolist()):
        for name in recipes:
            yield _label_kl(tables, name, shots, intervals)
        if len(floors) == len(ceilings) == 1:
            others = [name for name in recipes if name not in (floors[0], ceilings[0])]
            for name in others:
                for measure in _LIKENESS:
                    yield _way(tables, name, floors[0], ceilings[0], shots, measure, intervals)


def _label_kl(tables: Rows, name: str, shots: int, intervals: Intervals) -> Finding:
    found = bootstrap_mean(
        query_values(tables, {"recipe": name, "shots": shots}, LABEL_KL),
        seed=derive_seed("bootstrap", LABEL_KL),
        resamples=intervals.resamples,
        level=intervals.level,
        statistic=over_layers_and_draws,
    )
    value, low, high = (float(end) for end in (found.estimate, found.low, found.high))
    return Finding(
        LABEL_KL,
        f"{name}, {shots} shots: label KL from ICL {_number(value, low, high)} nats",
        value=value,
        low=low,
        high=high,
        null=0.0,
        unit="nats",
        basis=f"{100 * intervals.level:g}% bootstrap over queries",
        where={"recipe": name, "shots": int(shots)},
    )


def _way(
    tables: Rows, name: str, floor: str, ceiling: str, shots: int, measure: str, intervals: Intervals
) -> Finding:
    values = [
        query_values(tables, {"recipe": one, "shots": shots}, measure) for one in (name, floor, ceiling)
    ]

    def share(means: Tensor) -> Tensor:
        own, low, high = over_layers_and_draws(means).unbind(1)
        return ((own - low) / (high - low)).where(high > low, torch.nan)

    found = bootstrap_mean(
        torch.stack(values, dim=1),
        seed=derive_seed("bootstrap", measure),
        resamples=intervals.resamples,
        level=intervals.level,
        statistic=share,
    )
    value, low, high = (float(end) for end in (found.estimate, found.low, found.high))
    lies = f"lies {_number(value, low, high)} of the way from {floor} to {ceiling}"
    if math.isnan(value):
        lies = f"has no place between {floor} and {ceiling}, whose own is not above it"
    return Finding(
        WAY_FINDING.format(measure=measure),
        f"{name}, {shots} shots: {measure} {lies}",
        value=value,
        low=low,
        high=high,
        basis=f"{100 * intervals.level:g}% bootstrap over queries, the same in all three",
        where={"recipe": name, "shots": int(shots)},
    )


def _number(value: float, low: float, high: float) -> str:
    return f"{value:.3g}" if math.isnan(low) else f"{value:.3g} [{low:.3g}, {high:.3g}]"
