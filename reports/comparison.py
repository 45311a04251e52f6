"""What there is to read of comparisons: one with its counts and intervals, several with a row each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..study.names import DELTA, DELTA_NULL, PARTIAL, PARTIAL_NULL, SETTING_NAMES
from ..study.sheet import Block, Cell, Sheet, sheet_of
from .comparison_rows import (
    CALIBRATED,
    SIM_AOU_NOTES,
    row_alarms,
    row_blocks,
    row_notes,
    spread_cells,
    spread_note,
    undefined,
)
from .imitation_block import imitation_blocks, imitation_notes
from .series_block import series_blocks, series_notes
from .undefined_notes import undefined_notes

if TYPE_CHECKING:
    from ..study.columns import Frame
    from ..study.study import Study


def comparison_sheet(study: Study) -> Sheet:
    """Return the numbers of one comparison, or of several with a row each.

    Args:
        study: A study of comparisons.
    """
    cells = list(study.tables["over_draws"].groupby(["recipe", "shots"], sort=False))
    if len(cells) == 1:
        return sheet_of(study, _blocks(study), _notes(study))
    draws = len(study.config.seeds)
    rows = {row_name({"recipe": recipe, "shots": shots}): found for (recipe, shots), found in cells}
    sheet = sheet_of(
        study,
        (*series_blocks(study), *imitation_blocks(study), *_learning_rates(study), *row_blocks(rows, draws)),
        (
            *series_notes(study),
            *imitation_notes(study),
            spread_note(draws),
            *row_notes(study.tables["layers"]),
        ),
    )
    return dataclasses.replace(
        sheet,
        alarms=row_alarms(study.findings, row_name, draws),
        warnings=tuple(dict.fromkeys(sheet.warnings)),
    )


def row_name(where: Mapping[str, Any]) -> str:
    """Return what a comparison is called, by its recipe and number of shots."""
    return f"{where['recipe']}, {where['shots']} shot{'s' * (where['shots'] > 1)}"


def _learning_rates(study: Study) -> tuple[Block, ...]:
    """Return the rates of each comparison; nothing where somebody else finetuned."""
    if study.tables["finetuning"]["learning_rate"].isna().all():
        return ()
    rows = []
    for (recipe, shots), runs in study.tables["finetuning"].groupby(["recipe", "shots"], sort=False):
        rates = dict.fromkeys(f"{rate:g}" for rate in runs["learning_rate"] if not math.isnan(rate))
        rows.append((row_name({"recipe": recipe, "shots": shots}), ((", ".join(rates),),)))
    return (Block("finetuning", ("learning rate",), tuple(rows)),)


def measured_cells(measures: Frame) -> dict[str, Cell]:
    """Return each number of one draw with its counts and interval, by its name."""
    return {row.measure: _measured_cell(row) for row in measures.itertuples()}


def _measured_cell(row: Any) -> Cell:
    if math.isnan(row.value):
        return (undefined(row.unit),)
    digits, digits_of_interval = (1, 0) if row.unit == "%" else (3, 3)
    low, high = (f"{end:.{digits_of_interval}f}" for end in (row.low, row.high))
    interval = "" if math.isnan(row.low) else f"[{low}, {high}]"
    counts = f"{row.numerator}/{row.denominator}" if row.unit == "%" else ""
    return (f"{row.value:.{digits}f}", counts, interval)


def _blocks(study: Study) -> tuple[Block, ...]:
    draws = len(study.tables["draws"])
    if draws == 1:
        cells = measured_cells(study.tables["measures"])
    else:
        cells = spread_cells(study.tables["over_draws"], draws)
    settings = list(SETTING_NAMES.values())
    return (
        Block(
            "%",
            ("accuracy, label set", "accuracy, vocabulary", "predictions changed"),
            tuple(
                (
                    name,
                    (
                        cells[f"accuracy, {name}"],
                        cells[f"accuracy over the vocabulary, {name}"],
                        cells.get(f"predictions changed by {_by(name)}", ("-",)),
                    ),
                )
                for name in settings
            ),
        ),
        Block(
            "%",
            tuple(settings),
            (("calibrated", tuple(cells[f"calibrated accuracy, {name}"] for name in settings)),),
        ),
        Block(
            "cosine",
            ("SimAOU", PARTIAL),
            (
                ("measured", (cells["SimAOU"], cells[PARTIAL])),
                ("null gaussian", (cells["SimAOU, null gaussian"], ("-",))),
                ("null permuted pairs", (cells["SimAOU, null permuted_pairs"], cells[PARTIAL_NULL])),
                ("null shared baseline", (cells["SimAOU, null shared_baseline"], ("-",))),
            ),
        ),
        Block(
            "cosine",
            ("before finetuning", "→ after finetuning", "of changes (delta)"),
            (
                (
                    "SimAM",
                    (cells["SimAM before finetuning"], cells["SimAM after finetuning"], cells[DELTA]),
                ),
                ("null shared baseline", (("-",), ("-",), cells[DELTA_NULL])),
            ),
        ),
        Block("%", ("of what finetuning put right",), (("Rec2FTP", (cells["Rec2FTP"],)),)),
        Block(
            "%",
            ("all changes", "correct changes", "incorrect changes"),
            (
                (
                    "Jaccard",
                    tuple(cells[f"Jaccard, {which} changes"] for which in ("all", "correct", "incorrect")),
                ),
            ),
        ),
    )


def _by(name: str) -> str:
    return "finetuning" if name == SETTING_NAMES["ft"] else name


def _notes(study: Study) -> tuple[str, ...]:
    config, draws = study.config, len(study.tables["draws"])
    spread = spread_note(draws)
    if draws == 1:
        spread = (
            f"[low, high]: {100 * config.level:g}% intervals: bootstrap over queries, for this one draw of "
            "demonstrations."
        )
    variant = "" if config.score_variant == "raw" else f" ({config.score_variant})"
    return (
        spread,
        CALIBRATED,
        *SIM_AOU_NOTES,
        f"SimAM: cosine of the attention scores{variant} of ICL with those of zero-shot (before) and of the "
        "finetuned model (after); delta compares their changes from zero-shot, and its null accounts for the row "
        "that both are taken from and for what all queries share.",
        *undefined_notes(study.tables["layers"]),
        "Rec2FTP: of the queries finetuning put right, those ICL puts right too.",
        f"Jaccard: changes of predictions shared by ICL and finetuning ({config.agreement.replace('_', ' ')}).",
    )
