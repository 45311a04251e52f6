"""Several comparisons below each other: one row each, in the blocks that all such tables share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..analyses.comparison.draw import Draw
from ..analyses.comparison.measures import DELTA, DELTA_NULL, PARTIAL, PARTIAL_NULL, MeasureOverDraws
from .comparison_alarms import ALARMS, Alarm
from .comparison_notes import CALIBRATED
from .comparison_sheet import SIM_AOU_NOTES, Block, cell_of
from .undefined_notes import undefined_notes

if TYPE_CHECKING:
    from pandas import DataFrame

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


def row_blocks(rows: Mapping[str, Sequence[MeasureOverDraws]], draws: int) -> tuple[Block, ...]:
    """Return the measures of several comparisons, one row each.

    Args:
        rows: Every measure of each comparison, by the comparison's name.
        draws: How many draws of demonstrations each has.
    """
    by_name = {row: {measure.name: measure for measure in measures} for row, measures in rows.items()}
    return tuple(
        Block(
            corner,
            tuple(columns),
            tuple(
                (row, tuple(cell_of(measures[name], draws) for name in columns.values()))
                for row, measures in by_name.items()
            ),
        )
        for corner, columns in _BLOCKS
    )


def row_alarms(rows: Mapping[str, Sequence[Draw]]) -> tuple[str, ...]:
    """Return what must be read before any number, see `ALARMS`, each once with the comparisons that it holds in.

    Args:
        rows: The draws of each comparison, by the comparison's name.
    """
    said = ((alarm.several, _where(alarm, rows)) for alarm in ALARMS)
    return tuple(f"{what}, in: {'; '.join(where)}" for what, where in said if where)


def _where(alarm: Alarm, rows: Mapping[str, Sequence[Draw]]) -> list[str]:
    where = []
    for row, draws in rows.items():
        seeds = [str(draw.seed) for draw in draws if alarm.sounds(draw)]
        if len(seeds) == len(draws):
            where.append(row)
        elif seeds:
            where.append(f"{row} (seed{'s' * (len(seeds) > 1)} {', '.join(seeds)})")
    return where


def row_notes(rows: Mapping[str, Sequence[Draw]]) -> tuple[str, ...]:
    """Return how to read the numbers, and which of them are undefined.

    Args:
        rows: The draws of each comparison, by the comparison's name.
    """
    return (*_NOTES, *undefined_notes([draw for draws in rows.values() for draw in draws]))


def spread_note(draws: int) -> str:
    """Say what stands behind the numbers."""
    if draws == 1:
        return "one draw of demonstrations, so there is no spread over draws."
    return f"mean ± standard deviation over {draws} draws of demonstrations."


def rows_frame(
    rows: Sequence[tuple[Mapping[str, Any], Sequence[MeasureOverDraws]]], names: Sequence[str]
) -> DataFrame:
    """Return one row per comparison and measure.

    Columns: what tells the comparisons apart; ``measure``, ``unit`` (``%`` or ``cosine``), ``mean`` and ``std`` over
    draws of demonstrations, and ``draws``, in how many of them the measure is defined.

    Args:
        rows: For each comparison what tells it apart, and its measures.
        names: The columns that tell the comparisons apart.
    """
    import pandas

    content = [
        (
            *(key[name] for name in names),
            measure.name,
            measure.unit,
            measure.mean,
            measure.std,
            measure.draws,
        )
        for key, measures in rows
        for measure in measures
    ]
    return pandas.DataFrame(
        content, columns=pandas.Index([*names, "measure", "unit", "mean", "std", "draws"])
    )
