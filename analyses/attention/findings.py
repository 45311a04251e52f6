"""What is found of where attention goes: the head that looks at labels most, and those that tell right ones apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...study.finding import Finding
from .config import AttentionConfig

_LABELS, _RIGHT = "attention on labels", "preference for right labels"


def attention_findings(
    config: AttentionConfig, ranked: Sequence[Mapping[str, Any]], queries: int
) -> tuple[Finding, ...]:
    """Return the findings.

    Args:
        config: What is asked.
        ranked: The rows of the table ``ranked``.
        queries: How many queries every draw asked.
    """
    draws = f" in each of {len(config.seeds)} draws of demonstrations" if len(config.seeds) > 1 else ""
    basis = f"bootstrap over {queries} queries{draws}"
    top = ranked[0]
    found = [
        Finding(
            _LABELS,
            f"Head {_name(top)} looks at the demonstrations' labels most: {top['labels']:.1%} of the last token's "
            f"attention [{top['labels_low']:.1%}, {top['labels_high']:.1%}], {top['labels_even']:.1%} if it were "
            "even.",
            value=top["labels"],
            low=top["labels_low"],
            high=top["labels_high"],
            null=top["labels_even"],
            basis=basis,
            where={"layer": top["layer"], "head": top["head"]},
        )
    ]
    telling = [row for row in ranked if row["right"] == row["right"]]
    if not telling:
        return (
            *found,
            Finding(
                _RIGHT,
                "No query has both right and other labels among its demonstrations, so nothing is said of which it "
                "looks at: ask for more shots.",
                "alarm",
            ),
        )
    # By the lower end: the largest of many means is large by chance.
    best = max(telling, key=lambda row: row["right_low"])
    permuted = (
        ""
        if best["right_permuted"] != best["right_permuted"]
        else (
            f"; with permuted labels {best['right_permuted']:+.2f} "
            f"[{best['right_permuted_low']:+.2f}, {best['right_permuted_high']:+.2f}]"
        )
    )
    found.append(
        Finding(
            _RIGHT,
            f"Head {_name(best)} prefers right labels most: {best['right']:+.2f} "
            f"[{best['right_low']:+.2f}, {best['right_high']:+.2f}] of its attention on labels above an even "
            f"share{permuted}.",
            value=best["right"],
            low=best["right_low"],
            high=best["right_high"],
            null=0.0,
            basis=basis,
            where={"layer": best["layer"], "head": best["head"]},
        )
    )
    above = [row for row in telling if row["right_low"] > 0]
    again = [row for row in telling if row["right_permuted_low"] > 0]
    also = f", {len(again)} do with permuted labels" if permuted else ""
    found.append(
        Finding(
            "heads that prefer right labels",
            f"{len(above)} of {len(telling)} heads prefer right labels by more than their interval{also}.",
            value=float(len(above)),
            unit="heads",
            basis=f"intervals of each head by itself, {config.level:.0%}",
        )
    )
    return tuple(found)


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['layer']}.{row['head']}"
