"""Which step of a training run is most like ICL, by the same queries at every step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...probes import bootstrap_mean
from ...seeds import derive_seed
from ...study.columns import Frame
from ...study.finding import Finding
from ...study.names import DELTA, PARTIAL
from .findings import NULL_OF
from .measures import Intervals
from .query_values import ACCURACY, over_layers_and_draws, query_values
from .rows import Rows
from .series_table import SERIES

LIKENESS = ("SimAOU", PARTIAL, "SimAM after finetuning", DELTA)
"""What tells how like ICL a step is."""
AGAINST = {**NULL_OF, "SimAM after finetuning": "SimAM before finetuning"}
"""What each is read against."""


def series_rows(tables: Rows, steps: Mapping[str, int | None], intervals: Intervals) -> Frame:
    """Return each measure at each checkpoint, with its distance from the largest.

    Intervals resample queries, with all layers and draws of demonstrations of a query together; those of a distance
    take the same queries at both checkpoints.

    Args:
        tables: The tables of the comparisons.
        steps: The training step of each checkpoint by its name, in the order of training.
        intervals: How intervals are made.
    """
    rows: list[dict[str, Any]] = []
    over_draws = tables["over_draws"].set_index(["recipe", "shots", "measure"])["mean"]
    for shots in dict.fromkeys(tables["over_draws"]["shots"]):
        for measure in (*LIKENESS, ACCURACY):
            values = [query_values(tables, {"recipe": name, "shots": shots}, measure) for name in steps]
            means = np.array([float(over_layers_and_draws(each.nanmean(0)[None])[0]) for each in values])
            most = None if np.isnan(means).all() else int(np.nanargmax(means))
            against = AGAINST.get(measure)
            for place, (name, step) in enumerate(steps.items()):
                best = values[place] if most is None else values[most]
                rows.append(
                    {
                        "recipe": name,
                        "shots": int(shots),
                        "place": place,
                        "step": step,
                        "measure": measure,
                        "unit": "%" if measure == ACCURACY else "cosine",
                        **_intervals(best, values[place], measure, intervals),
                        "null": math.nan if against is None else over_draws[name, shots, against],
                        "most": place == most,
                    }
                )
    return SERIES.frame(rows)


def series_findings(series: Frame, intervals: Intervals) -> Iterator[Finding]:
    """Return which checkpoint is most like ICL by each similarity, and whether it differs from its neighbours.

    Args:
        series: The table, see `series_rows`.
        intervals: How its intervals were made.
    """
    several = series["shots"].nunique() > 1
    for (shots, measure), found in series.groupby(["shots", "measure"], sort=False):
        if measure == ACCURACY:
            continue
        told = f"{shots} shots, " if several else ""
        best = found[found["most"]]
        if best.empty:
            yield Finding(f"most like ICL by {measure}", f"{told}{measure}: undefined at every checkpoint")
            continue
        row = best.iloc[0]
        yield Finding(
            f"most like ICL by {measure}",
            f"{told}{measure}: {row['recipe']} is most like ICL of {len(found)} checkpoints, "
            f"{row['value']:.3g}{_ends(row['low'], row['high'])} against {row['null']:.3g} "
            f"({AGAINST[str(measure)]}), {_neighbours(found, row)}",
            value=float(row["value"]),
            low=float(row["low"]),
            high=float(row["high"]),
            null=float(row["null"]),
            unit="cosine",
            basis=f"{100 * intervals.level:g}% bootstrap over queries, not corrected for the choice of the largest",
            where={"recipe": str(row["recipe"]), "shots": int(shots)},
        )


def _neighbours(found: Frame, best: Any) -> str:
    """Say whether a checkpoint lies above the one before and the one after beyond the interval of the difference."""
    said = []
    for row in found[(found["place"] - best["place"]).abs() == 1].to_dict("records"):
        how = "above" if row["behind_low"] > 0 else "not told apart from"
        by = "undefined" if math.isnan(row["behind"]) else f"by {row['behind']:.3g}"
        said.append(f"{how} {row['recipe']} ({by}{_ends(row['behind_low'], row['behind_high'])})")
    return " and ".join(said)


def _ends(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" [{low:.3g}, {high:.3g}]"


def _intervals(best: Tensor, one: Tensor, measure: str, intervals: Intervals) -> dict[str, float]:
    """Return a checkpoint's value, and what it lacks to the best, with their intervals."""

    def both(means: Tensor) -> Tensor:
        of_best, of_one = over_layers_and_draws(means).unbind(1)
        return torch.stack([of_one, of_best - of_one], dim=1)

    interval = bootstrap_mean(
        torch.stack([best, one], dim=1),
        seed=derive_seed("bootstrap", measure),
        resamples=intervals.resamples,
        level=intervals.level,
        statistic=both,
    )
    value, behind = interval.estimate.tolist()
    (low, behind_low), (high, behind_high) = interval.low.tolist(), interval.high.tolist()
    return {
        "value": value,
        "low": low,
        "high": high,
        "behind": behind,
        "behind_low": behind_low,
        "behind_high": behind_high,
    }
