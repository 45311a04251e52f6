"""What a matched comparison says, and how much of it hangs on the step and the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ...study.columns import Frame
from ...study.finding import Finding
from ..comparison.measures import Intervals
from .names import BY_KL, LIKENESS


def trajectory_findings(
    matched: Frame, runs: Sequence[dict[str, Any]], intervals: Intervals
) -> Iterator[Finding]:
    """Return each similarity where finetuning is nearest to ICL, and how far the learning rates are apart there.

    Args:
        matched: See `matched_rows`.
        runs: Rows of the finetunings.
        intervals: How intervals were made.
    """
    basis = f"{100 * intervals.level:g}% bootstrap over queries, not corrected for the choice of the step"
    for (shots, by), found in matched.groupby(["shots", "by"], sort=False):
        where = {"shots": int(shots), "by": str(by)}
        for measure in LIKENESS:
            rows = found[found["measure"] == measure]
            for row in rows[rows["nearest"]].to_dict("records"):
                yield _matched(str(measure), row, where, basis)
            known = rows[rows["value"].notna()]
            if len(known) > 1:
                yield _spread(str(measure), known, where)
    for row in runs:
        if not row["ended"]:
            yield Finding(
                "diverged",
                f"with {row['shots']} shots, seed {row['seed']} and learning rate {row['learning_rate']:g} "
                "finetuning diverged; what was seen before is kept",
                "warning",
                where={"shots": row["shots"], "seed": row["seed"]},
            )


def _matched(measure: str, row: Any, where: dict[str, str | int], basis: str) -> Finding:
    value = "undefined" if math.isnan(row["value"]) else f"{row['value']:.3f}"
    ends = "" if math.isnan(row["low"]) else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return Finding(
        f"{measure}, nearest to ICL in {where['by']}",
        f"{where['shots']} shots, nearest to ICL in {where['by']} (learning rate {row['learning_rate']:g}, step "
        f"{row['step']}, {left_of(row, str(where['by']))} left): {measure} {value}{ends}",
        value=row["value"],
        low=row["low"],
        high=row["high"],
        unit="cosine",
        basis=basis,
        where=where,
    )


def _spread(measure: str, rows: Frame, where: dict[str, str | int]) -> Finding:
    by = str(where["by"])
    least, most = rows.loc[rows["value"].idxmin()], rows.loc[rows["value"].idxmax()]
    return Finding(
        f"{measure}, spread over rates nearest to ICL in {where['by']}",
        f"{where['shots']} shots, each rate at its step nearest to ICL in {where['by']}: {measure} from "
        f"{least['value']:.3f} (learning rate {least['learning_rate']:g}, {left_of(least, by)} left) to "
        f"{most['value']:.3f} (learning rate {most['learning_rate']:g}, {left_of(most, by)} left)",
        value=float(most["value"] - least["value"]),
        null=0.0,
        unit="cosine",
        basis=f"largest less smallest of {len(rows)} learning rates",
        where=where,
    )


def left_of(row: Any, by: str) -> str:
    """Return the distance that is left, as it is said."""
    return f"{row['distance']:.3f} nats" if by == BY_KL else f"{row['distance']:+.1f} points"
