"""Where comparisons lie between the recipe that imitates what ICL says and the one that imitates its inside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..study.names import LABEL_KL_FINDING, PARTIAL, WAY_FINDING
from ..study.sheet import Block, Cell

if TYPE_CHECKING:
    from ..study.finding import Finding
    from ..study.study import Study

_COLUMNS = {
    LABEL_KL_FINDING: "label KL from ICL (nats)",
    WAY_FINDING.format(measure="SimAOU"): "SimAOU, way",
    WAY_FINDING.format(measure=PARTIAL): "partial, way",
}


def imitation_blocks(study: Study) -> tuple[Block, ...]:
    """Return how far every recipe is from ICL's answers, and its place between floor and ceiling.

    Nothing where no recipe imitates ICL.

    Args:
        study: A study of comparisons.
    """
    found: dict[tuple[str, int], dict[str, Finding]] = {}
    for finding in study.findings:
        if finding.name in _COLUMNS:
            key = str(finding.where["recipe"]), int(finding.where["shots"])
            found.setdefault(key, {})[finding.name] = finding
    if not found:
        return ()
    columns = [name for name in _COLUMNS if any(name in row for row in found.values())]
    rows = tuple(
        (f"{recipe}, {shots} shot{'s' * (shots > 1)}", tuple(_cell(row.get(name)) for name in columns))
        for (recipe, shots), row in found.items()
    )
    return (Block("beside imitations of ICL", tuple(_COLUMNS[name] for name in columns), rows),)


def imitation_notes(study: Study) -> tuple[str, ...]:
    """Return how to read them.

    Args:
        study: A study of comparisons.
    """
    if not imitation_blocks(study):
        return ()
    return (
        "way: (recipe − distill_icl) / (match_icl − distill_icl), 0 where it is as like ICL as what imitates its "
        f"answers alone and 1 as what imitates its attention outputs; [low, high]: {100 * study.config.level:g}% "
        "bootstrap over queries, the same in all three. label KL: from ICL's distribution over the labels to the "
        "finetuned model's.",
    )


def _cell(finding: Finding | None) -> Cell:
    if finding is None:
        return ("-",)
    if math.isnan(finding.value):
        return ("undefined",)
    ends = "" if math.isnan(finding.low) else f"[{finding.low:.3f}, {finding.high:.3f}]"
    return (f"{finding.value:.3f}", "", ends)
