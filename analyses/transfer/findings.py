"""What transfer found: what each update closes beside its null, and what must be read before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...study.columns import Frame
from ...study.finding import Finding
from ...study.names import (
    ALL_ATTENTION,
    ALONG,
    FINETUNED_MODEL,
    GAUSSIAN_ALONG,
    GAUSSIAN_FT,
    GAUSSIAN_ICL,
    MEAN_ICL,
    MODEL_ITSELF,
    OWN_FT,
    OWN_ICL,
    PERMUTED_ICL,
    REMAINDER,
    RESIDUAL_STREAM,
)
from ..comparison.alarms import alarms_of
from .config import TransferConfig
from .draw import TransferDraw

FT_IS_ZERO_SHOT = "finetuned model is the zero-shot one"
_ALL = 0.995
ICL_IS_ZERO_SHOT = "demonstrations change nothing"
_AT_ONCE: Mapping[str, str | None] = {
    OWN_ICL: GAUSSIAN_ICL,
    MEAN_ICL: PERMUTED_ICL,
    OWN_FT: GAUSSIAN_FT,
    ALONG: GAUSSIAN_ALONG,
    REMAINDER: None,
}
"""Each update and the null beside which it stands."""
_BY_LAYER: Mapping[str, str | None] = {
    MEAN_ICL: PERMUTED_ICL,
    OWN_FT: None,
    ALONG: GAUSSIAN_ALONG,
    REMAINDER: None,
}


def transfer_findings(
    config: TransferConfig, transfer: Frame, draws: Sequence[TransferDraw]
) -> tuple[Finding, ...]:
    """Return alarms, results and warnings.

    Args:
        config: What is asked.
        transfer: The table of that name.
        draws: The draws.
    """
    queries = draws[0].queries
    basis = f"bootstrap over {queries} queries" + (
        f", mean over {len(draws)} draws" if len(draws) > 1 else ""
    )
    closed = transfer[(transfer["measure"] == "closed") & (transfer["alpha"] == 1.0)]
    several = len(draws[0].sources) > 1
    return (
        *_alarms(draws, several),
        *_results(closed, basis, several),
        *_not_all(closed),
        *_warnings(draws),
    )


def _results(closed: Frame, basis: str, several: bool) -> Iterator[Finding]:
    for row in _rows(closed[closed["place"] == MODEL_ITSELF]):
        yield _finding(row, FINETUNED_MODEL, "itself", None, basis, several)
    at_once = closed[closed["place"] == ALL_ATTENTION]
    for update, null in _AT_ONCE.items():
        for row in _rows(at_once[at_once["update"] == update]):
            beside = None if null is None else _null(at_once, null, row)
            yield _finding(row, update, f"at {ALL_ATTENTION}", beside, basis, several)
    by_layer = closed[closed["place"] == RESIDUAL_STREAM]
    for update, null in _BY_LAYER.items():
        found = by_layer[(by_layer["update"] == update) & by_layer["value"].notna()]
        for _, of_recipe in found.groupby("recipe", dropna=False):
            row = of_recipe.loc[of_recipe["value"].idxmax()].to_dict()
            beside = None if null is None else _null(by_layer[by_layer["layer"] == row["layer"]], null, row)
            where = f"in the {RESIDUAL_STREAM} after layer {row['layer']}, where it closes most,"
            yield _finding(row, update, where, beside, basis, several)


def _finding(
    row: Mapping[str, Any], update: str, where: str, null: Mapping[str, Any] | None, basis: str, several: bool
) -> Finding:
    recipe = row["recipe"] if isinstance(row["recipe"], str) else None
    of = f" of {recipe}" if several and recipe is not None else ""
    value, beside = float(row["value"]), float("nan") if null is None else float(null["value"])
    if value != value:
        sentence = f"what {update}{of} {where} closes of the way from zero-shot to ICL is undefined"
    else:
        interval = "" if row["low"] != row["low"] else f" [{row['low']:.2f}, {row['high']:.2f}]"
        than = "" if null is None or beside != beside else f"; {null['update']}: {beside:.2f}"
        sentence = f"{update}{of} {where} closes {value:.2f}{interval} of the way from zero-shot to ICL{than}"
    place = "" if update == FINETUNED_MODEL else f", {row['place']}"
    return Finding(
        f"closed, {update}{place}",
        sentence,
        value=value,
        low=float(row["low"]),
        high=float(row["high"]),
        null=beside,
        basis=basis,
        where={"recipe": recipe} if several and recipe is not None else {},
    )


def _rows(frame: Frame) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def _null(frame: Frame, null: str, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = frame[frame["update"] == null]
    same = found[(found["recipe"] == row["recipe"]) | found["recipe"].isna()]
    rows = _rows(same)
    return rows[0] if rows else None


def _alarms(draws: Sequence[TransferDraw], several: bool) -> Iterator[Finding]:
    for recipe in draws[0].sources:
        where: dict[str, str | int] = {"recipe": recipe} if several else {}
        for draw in draws:
            if draw.unmoved[recipe] == draw.queries:
                yield Finding(
                    FT_IS_ZERO_SHOT,
                    f"finetuning by {recipe} in the draw of seed {draw.cell.seed} changed no attention output of "
                    f"{draw.queries} queries by more than rounding: what its updates do is undefined",
                    "alarm",
                    where={**where, "seed": draw.cell.seed},
                )
        for name, seed, sentence in alarms_of({draw.cell.seed: draw.outcomes[recipe] for draw in draws}):
            yield Finding(name, sentence, "alarm", where={**where, "seed": seed})
    for draw in draws:
        if draw.icl_unmoved == draw.queries:
            yield Finding(
                ICL_IS_ZERO_SHOT,
                f"demonstrations in the draw of seed {draw.cell.seed} changed no attention output of {draw.queries} "
                "queries by more than rounding: there is no way from zero-shot to ICL to close",
                "alarm",
                where={"seed": draw.cell.seed},
            )


def _not_all(closed: Frame) -> Iterator[Finding]:
    """Say where attention outputs are not all that demonstrations reach the last token by."""
    own = closed[(closed["place"] == ALL_ATTENTION) & (closed["update"] == OWN_ICL)]
    for value in own["value"].dropna():
        if value < _ALL:
            yield Finding(
                "own ICL",
                f"{OWN_ICL} at {ALL_ATTENTION} closes {value:.2f} and not 1: attention is not all by which "
                "demonstrations reach the answer (learned positions, layers with a state, label words of several "
                "tokens)",
                "warning",
            )


def _warnings(draws: Sequence[TransferDraw]) -> Iterator[Finding]:
    for draw in draws:
        where = {"seed": draw.cell.seed}
        for recipe, unmoved in draw.unmoved.items():
            if 0 < unmoved < draw.queries:
                yield Finding(
                    "undefined",
                    f"finetuning by {recipe} moved {unmoved} of {draw.queries} queries by rounding alone: they are "
                    "left out",
                    "warning",
                    where=where,
                )
        rows, same = draw.answers.unchanged
        if same < rows:
            yield Finding(
                "alpha 0",
                f"{rows - same} of {rows} runs with alpha 0 are not the zero-shot run bit for bit, by at most "
                f"{draw.answers.largest_change:.1e} nats: rows of one batch have a part in each other's roundings",
                "warning",
                where=where,
            )
