"""What comparisons found: what must be read before any number, every number, and what limits them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ...study.columns import Frame
from ...study.finding import Finding
from ...study.names import DELTA, DELTA_NULL, PARTIAL, PARTIAL_NULL
from .alarms import Outcome, alarms_of
from .draw import Draw
from .measures import Intervals
from .rows import Key, Rows


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
    outcomes = {
        int(seed): _outcome(
            measures[measures["seed"] == seed].set_index("measure"),
            finetuning[finetuning["seed"] == seed].iloc[0],
        )
        for seed in dict.fromkeys(measures["seed"])
    }
    for name, seed, sentence in alarms_of(outcomes):
        yield Finding(name, sentence, "alarm", where={**key, "seed": seed})


def _outcome(measures: Frame, run: Any) -> Outcome:
    changed, zero_shot, icl = (
        measures.loc[name]
        for name in ("predictions changed by finetuning", "accuracy, zero-shot", "accuracy, ICL")
    )
    return Outcome(
        source=run["source"],
        learning_rate=run["learning_rate"],
        first_loss=run["first_loss"],
        final_loss=run["final_loss"],
        queries=int(changed["denominator"]),
        changed=int(changed["numerator"]),
        zero_shot_right=int(zero_shot["numerator"]),
        icl_right=int(icl["numerator"]),
    )


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
