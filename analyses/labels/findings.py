"""What labels were found to do: whether ICL follows them or answers as if they were right."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ...study.columns import Frame
from ...study.finding import Finding
from ..comparison.measures import Intervals
from .pairs import COSINE, FOLLOWS, PARTIAL_COSINE

VERDICT = "recognition or learning"


def label_findings(effects: Frame, pairs: Frame, intervals: Intervals) -> Iterator[Finding]:
    """Return the verdict by raw and by calibrated answers, what each variant costs, and how alike updates are.

    Args:
        effects: See `effect_rows`.
        pairs: See `pair_rows`.
        intervals: How intervals were made.
    """
    basis = f"{100 * intervals.level:g}% bootstrap over queries"
    for kind, measure in FOLLOWS.items():
        for row in pairs[pairs["measure"] == measure].to_dict("records"):
            yield _verdict(kind, row, basis)
    for kind in ("accuracy", "calibrated accuracy"):
        name = f"{kind}, ICL"
        for row in effects[(effects["measure"] == name) & (effects["variant"] != "gold")].to_dict("records"):
            yield Finding(
                f"{name}, change from gold",
                f"{row['variant']} labels: {name} {row['value']:.1f}%, "
                f"{_signed(row['change'])}{_ends(row['change_low'], row['change_high'], 1)} points from gold",
                value=row["change"],
                low=row["change_low"],
                high=row["change_high"],
                null=0.0,
                unit="%",
                basis=f"{basis}, the same with both labels",
                where={"variant": row["variant"]},
            )
    for measure in (COSINE, PARTIAL_COSINE):
        for row in pairs[(pairs["measure"] == measure) & (pairs["variant"] == "gold")].to_dict("records"):
            value = "undefined" if math.isnan(row["value"]) else f"{row['value']:.3f}"
            yield Finding(
                measure,
                f"{measure}, gold and {row['other']} labels: {value}{_ends(row['low'], row['high'], 3)}",
                value=row["value"],
                low=row["low"],
                high=row["high"],
                unit="cosine",
                basis=basis,
                where={"variant": row["other"]},
            )


def _verdict(kind: str, row: Any, basis: str) -> Finding:
    """Say by the share of answers that turn with the labels; if half of them do, it is neither."""
    if math.isnan(row["low"]):
        verdict = "undecided"
    elif row["low"] > 50:
        verdict = "learning"
    elif row["high"] < 50:
        verdict = "recognition"
    else:
        verdict = "undecided"
    return Finding(
        f"{VERDICT}, {kind}",
        f"by {kind}: {verdict}; flipped labels turn {row['value']:.1f}%{_ends(row['low'], row['high'], 1)} of ICL's "
        "answers with them",
        value=row["value"],
        low=row["low"],
        high=row["high"],
        null=50.0,
        unit="%",
        basis=basis,
        where={"variant": "flipped"},
    )


def _signed(value: float) -> str:
    return f"{value:+.1f}"


def _ends(low: float, high: float, digits: int) -> str:
    return "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
