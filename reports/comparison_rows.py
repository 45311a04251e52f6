"""Several comparisons below each other: one row each, in the blocks that all such tables share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..study.names import DELTA, DELTA_NULL, LOSS_ROSE, NO_CHANGE, NO_LEARNING, PARTIAL, PARTIAL_NULL
from ..study.sheet import Block, Cell
from .undefined_notes import undefined_notes

if TYPE_CHECKING:
    from ..study.columns import Frame
    from ..study.finding import Finding

CALIBRATED = (
    "calibrated: accuracy over the label set, each label's log-probability less its mean over the queries."
)
SIM_AOU_NOTES = (
    "SimAOU: cosine of the updates of the attention output by ICL and by finetuning, mean over layers. Its nulls "
    "account for chance (gaussian), for the direction that all queries share (permuted pairs), and for both that and "
    "the zero-shot output which the two updates are taken from (shared baseline); they overlap and do not subtract.",
    "SimAOU partial: the same with the zero-shot output and what all queries share taken out; 0 where nothing "
    "particular to the query is in common.",
)
_BLOCKS: tuple[tuple[str, Mapping[str, str]], ...] = (
    (
        "accuracy, label set (%)",
        {"zero-shot": "accuracy, zero-shot", "ICL": "accuracy, ICL", "finetuned": "accuracy, finetuned"},
    ),
    (
        "accuracy, calibrated (%)",
        {
            "zero-shot": "calibrated accuracy, zero-shot",
            "ICL": "calibrated accuracy, ICL",
            "finetuned": "calibrated accuracy, finetuned",
        },
    ),
    (
        "accuracy, vocabulary (%)",
        {
            "zero-shot": "accuracy over the vocabulary, zero-shot",
            "ICL": "accuracy over the vocabulary, ICL",
            "finetuned": "accuracy over the vocabulary, finetuned",
        },
    ),
    (
        "SimAOU (cosine)",
        {
            "measured": "SimAOU",
            "null gaussian": "SimAOU, null gaussian",
            "null permuted pairs": "SimAOU, null permuted_pairs",
            "null shared baseline": "SimAOU, null shared_baseline",
        },
    ),
    ("SimAOU partial (cosine)", {"measured": PARTIAL, "null permuted pairs": PARTIAL_NULL}),
    (
        "SimAM (cosine)",
        {
            "before finetuning": "SimAM before finetuning",
            "→ after finetuning": "SimAM after finetuning",
            "of changes (delta)": DELTA,
            "null shared baseline": DELTA_NULL,
        },
    ),
    (
        "Jaccard of changes (%)",
        {
            "all": "Jaccard, all changes",
            "correct": "Jaccard, correct changes",
            "incorrect": "Jaccard, incorrect changes",
        },
    ),
    ("Rec2FTP (%)", {"of what finetuning put right": "Rec2FTP"}),
)

_NOTES = (
    CALIBRATED,
    *SIM_AOU_NOTES,
    "SimAM: cosine of the attention scores of ICL with those of zero-shot (before) and of the finetuned model "
    "(after); delta compares their changes from zero-shot, and its null accounts for the row that both are taken "
    "from and for what all queries share.",
    "Jaccard: changes of predictions shared by ICL and finetuning.",
    "Rec2FTP: of the queries finetuning put right, those ICL puts right too.",
)


# What is said once of all comparisons in which an alarm sounds.
_SEVERAL = {
    NO_CHANGE: "finetuning changed no prediction, so the overlap of changes says nothing about it",
    NO_LEARNING: "ICL is not better than zero-shot, so there is no learning in context to compare finetuning with",
    LOSS_ROSE: "the training loss rose, so finetuning did not learn the demonstrations",
}


def row_blocks(rows: Mapping[str, Frame], draws: int) -> tuple[Block, ...]:
    """Return the measures of several comparisons, one row each.

    Args:
        rows: Every measure of each comparison over its draws, by the comparison's name.
        draws: How many draws of demonstrations each has.
    """
    cells = {row: spread_cells(measures, draws) for row, measures in rows.items()}
    return tuple(
        Block(
            corner,
            tuple(columns),
            tuple((row, tuple(found[name] for name in columns.values())) for row, found in cells.items()),
        )
        for corner, columns in _BLOCKS
    )


def row_alarms(
    findings: Iterable[Finding], row_of: Callable[[Mapping[str, Any]], str], draws: int
) -> tuple[str, ...]:
    """Return what must be read before any number, each once with the comparisons and draws that it holds in.

    Args:
        findings: What was found.
        row_of: What a row is called, by where something was found.
        draws: How many draws of demonstrations each comparison has.
    """
    said: dict[str, dict[str, list[str]]] = {}
    for finding in findings:
        if finding.kind == "alarm":
            rows = said.setdefault(_SEVERAL.get(finding.name, finding.sentence), {})
            rows.setdefault(row_of(finding.where), []).append(str(finding.where.get("seed", "")))
    return tuple(f"{what}, in: {'; '.join(_rows(rows, draws))}" for what, rows in said.items())


def _rows(rows: Mapping[str, list[str]], draws: int) -> list[str]:
    return [
        row if len(seeds) == draws else f"{row} (seed{'s' * (len(seeds) > 1)} {', '.join(seeds)})"
        for row, seeds in rows.items()
    ]


def row_notes(layers: Frame) -> tuple[str, ...]:
    """Return how to read the numbers, and which of them are undefined.

    Args:
        layers: One row a comparison, draw, layer and measure.
    """
    return (*_NOTES, *undefined_notes(layers))


def spread_note(draws: int) -> str:
    """Say what stands behind the numbers."""
    if draws == 1:
        return "one draw of demonstrations, so there is no spread over draws."
    return f"mean ± standard deviation over {draws} draws of demonstrations."


def spread_cells(measures: Frame, draws: int) -> dict[str, Cell]:
    """Return each number of one comparison with its spread over so many draws, by its name."""
    return {row.measure: _spread_cell(row, draws) for row in measures.itertuples()}


def _spread_cell(row: Any, draws: int) -> Cell:
    digits = 1 if row.unit == "%" else 3
    if math.isnan(row.mean):
        return (undefined(row.unit),)
    spread = "" if math.isnan(row.std) else f"± {row.std:.{digits}f}"
    fewer = "" if row.draws == draws else f"({row.draws} of {draws} draws)"
    return (f"{row.mean:.{digits}f}", spread, fewer)


def undefined(unit: str) -> str:
    """Say of a number that there is none."""
    return "undefined (0/0)" if unit == "%" else "undefined"
