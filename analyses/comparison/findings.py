"""What comparisons found: what must be read before any number, every number, and what limits them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...study.columns import Frame
from ...study.finding import Finding
from ...study.names import (
    DELTA,
    DELTA_NULL,
    LOSS_ROSE,
    NO_CHANGE,
    NO_LEARNING,
    PARTIAL,
    PARTIAL_NULL,
)
from .draw import Draw
from .measures import Intervals
from .rows import Key, Rows

# Losses over the same demonstrations differ by so much, relatively, from rounding alone.
_ROUNDING = 1e-5


def comparison_findings(
    rows: Rows, key: Key, intervals: Intervals, *, only: bool = True
) -> tuple[Finding, ...]:
    """Return the alarms of each draw of one comparison, and every number with its interval.

    Args:
        rows: The rows of the comparison alone, see `comparison_rows`.
        key: What tells the comparison apart: where its findings are.
        intervals: How its intervals were made.
        only: Whether there is no other comparison beside it, so that nothing tells its results apart.
    """
    return (*_alarms(rows, key), *_results(rows, {} if only else key, intervals))


def draw_warnings(draws: Sequence[Draw], key: Key) -> tuple[Finding, ...]:
    """Return what limits the numbers of one comparison, each once.

    Args:
        draws: One draw a seed.
        key: What tells the comparison apart.
    """
    warnings = [
        f"only {draw.demonstrations_used} of {draw.demonstrations_asked} demonstrations fit the context window "
        f"with seed {draw.seed}; the others were left out"
        for draw in draws
        if draw.demonstrations_used < draw.demonstrations_asked
    ]
    if any(draw.separator_unknown for draw in draws):
        warnings.append("the separator between demonstrations is an unknown token to this tokenizer")
    warnings += draws[0].prompt.notes if draws[0].prompt is not None else ()
    return (
        *(Finding("prompt", warning, "warning", where=dict(key)) for warning in dict.fromkeys(warnings)),
        *(Finding("finetuned", note, "warning", where=dict(key)) for note in draws[0].finetuned.notes),
    )


def _alarms(rows: Rows, key: Key) -> Iterator[Finding]:
    measures, finetuning = rows["measures"], rows["finetuning"]
    seeds = list(dict.fromkeys(measures["seed"]))
    for name, alarm in _ALARMS.items():
        for seed in seeds:
            found = measures[measures["seed"] == seed].set_index("measure")
            run = finetuning[finetuning["seed"] == seed].iloc[0]
            sentence = alarm(found, run, f" in the draw of seed {seed}" if len(seeds) > 1 else "")
            if sentence:
                yield Finding(name, sentence, "alarm", where={**key, "seed": int(seed)})


def _unchanged(measures: Frame, run: Any, where: str) -> str:
    changed = measures.loc["predictions changed by finetuning"]
    if changed["numerator"]:
        return ""
    rate = run["learning_rate"]
    how = "" if math.isnan(rate) else f" and learning rate {rate:g}"
    return (
        f"finetuning changed no prediction{where}: with {run['source']}{how} every one of "
        f"{int(changed['denominator'])} is that of zero-shot, so the overlap of changes says nothing about finetuning"
    )


def _no_better(measures: Frame, run: Any, where: str) -> str:
    icl, zero_shot = (
        int(measures.loc[name, "numerator"]) for name in ("accuracy, ICL", "accuracy, zero-shot")
    )
    # As many right is no better.
    if icl > zero_shot:
        return ""
    of = int(measures.loc["accuracy, ICL", "denominator"])
    return (
        f"ICL is not better than zero-shot{where}: {icl} against {zero_shot} of {of} right over the label set, so "
        "there is no learning in context to compare finetuning with"
    )


def _rose(measures: Frame, run: Any, where: str) -> str:
    first, final = run["first_loss"], run["final_loss"]
    if math.isnan(run["learning_rate"]) or final <= first * (1 + _ROUNDING):
        return ""
    return (
        f"the training loss rose{where}, from {first:.3f} to {final:.3f}: finetuning did not learn the "
        "demonstrations, so take a smaller learning rate"
    )


_ALARMS: dict[str, Callable[[Frame, Any, str], str]] = {
    NO_CHANGE: _unchanged,
    NO_LEARNING: _no_better,
    LOSS_ROSE: _rose,
}


def _results(rows: Rows, where: Key, intervals: Intervals) -> Iterator[Finding]:
    draws, measures = rows["draws"], rows["measures"]
    told = "".join(f"{name} {value}, " for name, value in where.items())
    nulls = dict(zip(rows["over_draws"]["measure"], rows["over_draws"]["mean"], strict=True))
    queries = int(draws["queries"].iloc[0])
    for row, first in zip(rows["over_draws"].itertuples(), measures.itertuples(), strict=False):
        sign = "%" if row.unit == "%" else ""
        if len(draws) == 1:
            low, high = first.low, first.high
            basis = f"{100 * intervals.level:g}% bootstrap over {queries} queries, one draw of demonstrations"
            spread = f" [{low:.3g}{sign}, {high:.3g}{sign}]"
        else:
            low, high = row.mean - row.std, row.mean + row.std
            basis = f"± one standard deviation over {row.draws} draws of demonstrations"
            spread = f" ± {row.std:.3g}{sign}"
        known = f"{row.mean:.3g}{sign}{'' if math.isnan(low) else spread}"
        value = "undefined" if math.isnan(row.mean) else known
        yield Finding(
            row.measure,
            f"{told}{row.measure}: {value}",
            value=row.mean,
            low=low,
            high=high,
            null=nulls.get(NULL_OF.get(row.measure, ""), math.nan),
            unit=row.unit,
            basis=basis,
            where=dict(where),
        )


NULL_OF = {
    "SimAOU": "SimAOU, null shared_baseline",
    PARTIAL: PARTIAL_NULL,
    DELTA: DELTA_NULL,
}
"""The null that keeps most of what a similarity has anyway."""
