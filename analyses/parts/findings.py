"""What is found of direct and inherited parts: alarms first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from ...study.finding import Finding
from ..comparison.alarms import alarms_of
from .config import PartsConfig
from .split_draw import SplitDraw

_OF = {"icl": "ICL's", "ft": "finetuning's"}


def parts_findings(
    config: PartsConfig, measures: Sequence[Mapping[str, Any]], draws: Sequence[SplitDraw]
) -> Iterator[Finding]:
    """Yield the alarms, the shares of both updates, and what of their similarity lies in which part.

    Args:
        config: What is asked.
        measures: The rows of the table ``measures``.
        draws: The draws.
    """
    for name, seed, sentence in alarms_of({draw.cell.seed: draw.outcome for draw in draws}):
        yield Finding(name, sentence, "alarm", where={"seed": seed})
    told = _Told(config, measures, len(draws[0].answers["zsl"].correct))
    for setting, whose in _OF.items():
        direct, inherited = (told.of("share", setting, part) for part in ("direct", "inherited"))
        if direct["value"] != direct["value"]:
            yield Finding(
                f"update by {setting} is rounding",
                f"{whose} update of the attention outputs is rounding in every layer, so it has no parts",
                "alarm",
            )
            continue
        yield told.finding(
            f"direct share of {whose} update",
            f"Of {whose} update of the attention outputs {_text(direct)} is direct, made in the layer itself, and "
            f"{_text(inherited)} inherited from the layers below, mean over layers.",
            direct,
        )
    for part in ("direct", "inherited"):
        row = told.of("similarity", "both", part)
        if row["value"] != row["value"]:
            continue
        yield told.finding(
            f"SimAOU of the {part} parts",
            f"The {part} parts of the two updates have a cosine of {_text(row)}; {_nulls(row)}.",
            {**row, "null": row["shared_baseline"]},
            unit="cosine",
        )
    whole = told.of("similarity", "both", "total")
    if whole["value"] == whole["value"]:
        pairs = {
            name: told.of("contribution", "both", name)["value"]
            for name in ("direct", "inherited", "direct with inherited", "inherited with direct")
        }
        across = pairs["direct with inherited"] + pairs["inherited with direct"]
        yield told.finding(
            "SimAOU",
            f"SimAOU is {_text(whole)}: {pairs['direct']:+.3f} of it from direct with direct, "
            f"{pairs['inherited']:+.3f} from inherited with inherited, {across:+.3f} across; {_nulls(whole)}.",
            {**whole, "null": whole["shared_baseline"]},
            unit="cosine",
        )


class _Told:
    """Rows of ``measures`` over all draws."""

    def __init__(self, config: PartsConfig, measures: Sequence[Mapping[str, Any]], queries: int) -> None:
        self._measures = measures
        draws = len(config.seeds)
        self._basis = (
            f"{config.level:.0%} bootstrap over {queries} queries"
            if draws == 1
            else f"one standard deviation over {draws} draws of demonstrations"
        )

    def of(self, measure: str, setting: str, part: str) -> dict[str, Any]:
        """Return one measure: of one draw with its interval, else mean and deviation over draws."""
        rows = [
            row
            for row in self._measures
            if (row["measure"], row["setting"], row["part"]) == (measure, setting, part)
        ]
        if len(rows) == 1:
            return dict(rows[0])
        found = {
            name: fmean(row[name] for row in rows)
            for name in ("value", "permuted_pairs", "shared_baseline")
            if rows[0][name] is not None
        }
        spread = stdev(row["value"] for row in rows)
        return {**found, "low": found["value"] - spread, "high": found["value"] + spread}

    def finding(self, name: str, sentence: str, row: Mapping[str, Any], unit: str = "") -> Finding:
        """Return a finding with the numbers of a row."""
        numbers = {key: row[key] for key in ("value", "low", "high", "null") if key in row}
        return Finding(name, sentence, **numbers, unit=unit, basis=self._basis)


def _text(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _nulls(row: Mapping[str, Any]) -> str:
    permuted, shared = (f"{row[name]:.3f}" for name in ("permuted_pairs", "shared_baseline"))
    return f"with other queries {permuted} (permuted) and {shared} (shared baseline)"
