"""What was found and how sure it is: a sentence, with its numbers as data."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .columns import Column, Table

if TYPE_CHECKING:
    from pandas import DataFrame

FindingKind = Literal["alarm", "result", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        name: What was measured, in the words of the tables.
        sentence: What was found, to be read.
        kind: ``alarm`` must be read before any number, ``warning`` limits the numbers.
        value: The number; NaN where there is none.
        low: Lower end of its interval.
        high: Upper end.
        null: What the number would be if there were nothing to find.
        unit: ``%``, ``cosine`` and so on.
        basis: What the interval is over, such as ``bootstrap over 200 queries``.
        where: Which part of the study it is about, such as the recipe and the number of shots.
    """

    name: str
    sentence: str
    kind: FindingKind = "result"
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    null: float = math.nan
    unit: str = ""
    basis: str = ""
    where: Mapping[str, str | int] = field(default_factory=dict)


_NUMBERS = ("value", "low", "high", "null")

FINDINGS = Table(
    "findings",
    "one thing that was found, alarms first",
    (
        Column("kind", "text", "alarm, result or warning"),
        Column("name", "text", "what was measured"),
        Column("sentence", "text", "what was found, to be read"),
        Column("value", "number", "the number", "as in unit"),
        Column("low", "number", "lower end of its interval", "as in unit"),
        Column("high", "number", "upper end of its interval", "as in unit"),
        Column("null", "number", "the number if there were nothing to find", "as in unit"),
        Column("unit", "text", "what the numbers are in"),
        Column("basis", "text", "what the interval is over"),
        Column("where", "text", "which part of the study it is about, as JSON"),
    ),
)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings with alarms first and warnings last, otherwise in their order."""
    order = ("alarm", "result", "warning")
    return tuple(sorted(findings, key=lambda finding: order.index(finding.kind)))


def findings_frame(findings: Iterable[Finding]) -> DataFrame:
    """Return one row a finding."""
    return FINDINGS.frame(
        {**asdict(finding), "where": json.dumps(dict(finding.where), ensure_ascii=False)}
        for finding in findings
    )


def findings_of(frame: DataFrame) -> tuple[Finding, ...]:
    """Return the findings that a frame holds, see `findings_frame`."""
    rows: list[dict[str, Any]] = frame.to_dict("records")  # type: ignore[assignment]
    return tuple(
        Finding(**{**row, "where": json.loads(row["where"]), **{name: float(row[name]) for name in _NUMBERS}})
        for row in rows
    )
