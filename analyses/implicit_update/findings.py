"""What is found of in-context learning as a change of weights: alarms first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from ...study.finding import Finding
from ..comparison.alarms import alarms_of
from .config import ImplicitUpdateConfig
from .draw import ImplicitDraw
from .rows import BEYOND, EXPLAINED, LENGTH, OUTPUTS, RANK, WEIGHTS

_Rows = Sequence[Mapping[str, Any]]


def implicit_findings(
    config: ImplicitUpdateConfig, measures: _Rows, layers: _Rows, draws: Sequence[ImplicitDraw]
) -> Iterator[Finding]:
    """Yield the alarms, how different the updates are, what one of them for all explains, and what it does.

    Args:
        config: What is asked.
        measures: The rows of the table ``measures``.
        layers: The rows of the table ``layers``.
        draws: The draws.
    """
    for name, seed, sentence in alarms_of({draw.cell.seed: draw.outcome for draw in draws}):
        yield Finding(name, sentence, "alarm", where={"seed": seed})
    queries, many = len(draws[0].half), len(draws) > 1
    basis = f"{config.level:.0%} bootstrap over {queries} queries" + (
        f", mean of {len(draws)} draws" if many else ""
    )

    def of(measure: str, condition: str) -> dict[str, float]:
        return _mean(row for row in measures if (row["measure"], row["condition"]) == (measure, condition))

    rank, length = of(RANK, "own"), of(LENGTH, "own")
    yield Finding(
        RANK,
        f"The rank-one updates of {queries} queries have an effective rank of {rank['value']:.1f}, mean over layers "
        f"({rank['null']:.0f} if they had nothing in common), each {_text(length)} of the weights' norm.",
        value=rank["value"],
        null=rank["null"],
        unit="updates",
    )
    shared, mean, permuted = (of(EXPLAINED, condition) for condition in ("shared", "mean", "permuted"))
    yield Finding(
        "explained by one update for all",
        f"One update for all queries explains {_text(shared)} of what theirs add, on queries that it was not fitted "
        f"on, mean over layers; their mean explains {_text(mean)}, a fit to other queries' {_text(permuted)}.",
        value=shared["value"],
        low=shared["low"],
        high=shared["high"],
        null=mean["value"],
        basis=basis,
    )
    yield from _alignment(of(WEIGHTS, "own"), of(OUTPUTS, "own"), basis, draws[0].setting.source)
    if config.judged:
        yield from _judged(layers, basis)


def _alignment(
    weights: Mapping[str, float], outputs: Mapping[str, float], basis: str, source: str
) -> Iterator[Finding]:
    if weights["value"] != weights["value"]:
        yield Finding(
            "alignment with finetuning",
            f"{source} trained no first map of an MLP, so there is nothing to compare implicit updates with: take a "
            "recipe whose parameters name the MLPs",
            "warning",
        )
        return
    for name, row, what in (
        (WEIGHTS, weights, "As matrices, implicit updates and finetuning's"),
        (OUTPUTS, outputs, "What they add on the zero-shot input and what finetuning's adds"),
    ):
        yield Finding(
            name,
            f"{what} have a cosine of {_text(row, '.4f' if name == WEIGHTS else '.3f')}, mean over layers; with "
            f"another query's {row['null']:.4f}.",
            value=row["value"],
            low=row["low"],
            high=row["high"],
            null=row["null"],
            unit="cosine",
            basis=basis,
        )


def _judged(layers: _Rows, basis: str) -> Iterator[Finding]:
    """Say what is closed in the layer in which the shared update closes most, by the lower end of its interval."""

    def of(condition: str, layer: int) -> dict[str, float]:
        return _mean(
            row
            for row in layers
            if (row["measure"], row["condition"], row["layer"]) == ("closed", condition, layer)
        )

    numbers = sorted({row["layer"] for row in layers if row["measure"] == "closed"})
    ends = {layer: of("shared", layer)["low"] for layer in numbers}
    there = {layer: low for layer, low in ends.items() if low == low}
    if not there:
        return
    best = max(there, key=lambda layer: there[layer])
    own, shared, mean, alone, other, beyond = (
        of(condition, best) for condition in ("own", "shared", "mean", "shared, MLP alone", "other", BEYOND)
    )
    yield Finding(
        "closed by one update for all",
        f"Given in layer {best}, where it closes most, with the skip path one update for all closes {_text(shared)} "
        f"of the way from zero-shot to ICL; the mean change {_text(mean)} ({_text(beyond)} less), "
        f"another query's {_text(other)}, the query's own {_text(own)}, one update in the MLP alone {_text(alone)}.",
        value=shared["value"],
        low=shared["low"],
        high=shared["high"],
        null=mean["value"],
        basis=basis,
        where={"layer": best},
    )


def _mean(rows: Iterator[Mapping[str, Any]]) -> dict[str, float]:
    found = list(rows)
    return {
        name: fmean(row[name] if row[name] is not None else float("nan") for row in found)
        for name in ("value", "low", "high", "null")
    }


def _text(row: Mapping[str, float], form: str = ".3f") -> str:
    return f"{row['value']:{form}} [{row['low']:{form}}, {row['high']:{form}}]"
