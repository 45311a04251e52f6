"""Several studies beside each other: what each found, one column a study."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..study.sheet import Block, Sheet

if TYPE_CHECKING:
    from ..study.finding import Finding
    from ..study.study import Study


def beside_sheet(studies: Mapping[str, Study]) -> Sheet:
    """Return what studies found beside each other, and in which settings they differ.

    Args:
        studies: Each by what its column is called.
    """
    found = {
        name: {_key(each): each for each in study.findings if _has_number(each)}
        for name, study in studies.items()
    }
    keys = list(dict.fromkeys(key for each in found.values() for key in each))
    rows = tuple((key, tuple(_cell(each.get(key)) for each in found.values())) for key in keys)
    blocks = [Block("finding", tuple(studies), rows)] if rows else []
    settings = {name: _settings(study) for name, study in studies.items()}
    fields = list(dict.fromkeys(field for each in settings.values() for field in each))
    differing = [field for field in fields if len({each.get(field) for each in settings.values()}) > 1]
    if differing:
        told = tuple(
            (field, tuple((each.get(field, "–"),) for each in settings.values())) for field in differing
        )
        blocks.insert(0, Block("setting", tuple(studies), told))
    alarms = tuple(
        f"{name}: {each.sentence}"
        for name, study in studies.items()
        for each in study.findings
        if each.kind == "alarm"
    )
    bases = dict.fromkeys(
        each.basis for of in found.values() for each in of.values() if each.basis and not math.isnan(each.low)
    )
    notes = (f"[low, high]: {'; '.join(bases)}",) if bases else ()
    return Sheet(alarms, (), (), tuple(blocks), notes)


def _has_number(finding: Finding) -> bool:
    return finding.kind == "result" and not math.isnan(finding.value)


def _key(finding: Finding) -> str:
    where = ", ".join(f"{name} {value}" for name, value in finding.where.items())
    unit = f" ({finding.unit})" if finding.unit else ""
    return f"{finding.name}{unit}" + (f", {where}" if where else "")


def _cell(finding: Finding | None) -> tuple[str, ...]:
    if finding is None:
        return ("–",)
    interval = "" if math.isnan(finding.low) else f"[{finding.low:.3g}, {finding.high:.3g}]"
    return (f"{finding.value:.4g}", interval) if interval else (f"{finding.value:.4g}",)


def _settings(study: Study) -> dict[str, str]:
    from ..study.plain_values import plain

    told = {"analysis": study.analysis, **plain(study.config.model_dump())}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in told.items()}
