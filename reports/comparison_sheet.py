"""What the table of a comparison says, before it is laid out as text or HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..analyses.comparison.draw import SETTINGS, Draw
from ..analyses.comparison.measures import (
    DELTA,
    DELTA_NULL,
    PARTIAL,
    PARTIAL_NULL,
    SETTING_NAMES,
    Intervals,
    Measure,
    MeasureOverDraws,
    measures_of,
    over_draws,
)
from ..analyses.configuration import CompareConfig
from .comparison_facts import alarms_of, facts_of, warnings_of
from .comparison_notes import CALIBRATED
from .undefined_notes import undefined_notes

Cell = tuple[str, ...]
"""The parts of a cell: value, counts, interval; parts are aligned with those above and below."""


@dataclass(frozen=True)
class Block:
    """Rows that share their columns.

    Attributes:
        corner: What the rows are.
        columns: Heading of each column.
        rows: Name and cells of each row.
    """

    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]

    def __post_init__(self) -> None:
        """Check that every row fills every column."""
        if any(len(cells) != len(self.columns) for _, cells in self.rows):
            raise ValueError(f"every row of {self.corner!r} needs {len(self.columns)} cells")


@dataclass(frozen=True)
class Sheet:
    """Everything the table says.

    Attributes:
        alarms: What must be read before any number.
        facts: What was run, as name and value.
        warnings: What limits the numbers.
        blocks: The numbers.
        notes: How to read them.
    """

    alarms: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]


def sheet_of(config: CompareConfig, draws: Sequence[Draw]) -> Sheet:
    """Return what the table of a comparison says.

    Args:
        config: What was asked.
        draws: One or more draws of demonstrations.
    """
    measures = [
        measures_of(draw, config.agreement, Intervals(config.resamples, config.level)) for draw in draws
    ]
    return Sheet(
        alarms=alarms_of(draws),
        facts=facts_of(config, draws),
        warnings=warnings_of(draws),
        blocks=_blocks(measures[0] if len(draws) == 1 else over_draws(measures), len(draws)),
        notes=_notes(config, draws),
    )


def _blocks(measures: Sequence[Measure | MeasureOverDraws], draws: int) -> tuple[Block, ...]:
    cells = {measure.name: cell_of(measure, draws) for measure in measures}
    settings = [SETTING_NAMES[setting] for setting in SETTINGS]
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
                    (
                        cells["SimAM before finetuning"],
                        cells["SimAM after finetuning"],
                        cells[DELTA],
                    ),
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


def cell_of(measure: Measure | MeasureOverDraws, draws: int) -> Cell:
    """Return a number with its counts and interval, or with its spread over so many draws."""
    digits = 1 if measure.unit == "%" else 3
    if isinstance(measure, MeasureOverDraws):
        if math.isnan(measure.mean):
            return (_undefined(measure.unit),)
        spread = "" if math.isnan(measure.std) else f"± {measure.std:.{digits}f}"
        fewer = "" if measure.draws == draws else f"({measure.draws} of {draws} draws)"
        return (f"{measure.mean:.{digits}f}", spread, fewer)
    if math.isnan(measure.value):
        return (_undefined(measure.unit),)
    digits_of_interval = 0 if measure.unit == "%" else 3
    low, high = (f"{end:.{digits_of_interval}f}" for end in (measure.low, measure.high))
    interval = "" if math.isnan(measure.low) else f"[{low}, {high}]"
    counts = "" if measure.denominator is None else f"{measure.numerator}/{measure.denominator}"
    return (f"{measure.value:.{digits}f}", counts, interval)


def _undefined(unit: str) -> str:
    return "undefined (0/0)" if unit == "%" else "undefined"


SIM_AOU_NOTES = (
    "SimAOU: cosine of the updates of the attention output by ICL and by finetuning, mean over layers. Its nulls "
    "account for chance (gaussian), for the direction that all queries share (permuted pairs), and for both that and "
    "the zero-shot output which the two updates are taken from (shared baseline); they overlap and do not subtract.",
    "SimAOU partial: the same with the zero-shot output and what all queries share taken out; 0 where nothing "
    "particular to the query is in common.",
)


def _notes(config: CompareConfig, draws: Sequence[Draw]) -> tuple[str, ...]:
    if len(draws) == 1:
        spread = (
            f"[low, high]: {100 * config.level:g}% intervals: bootstrap over queries, for this one draw of "
            "demonstrations."
        )
    else:
        spread = f"mean ± standard deviation over {len(draws)} draws of demonstrations."
    variant = "" if config.score_variant == "raw" else f" ({config.score_variant})"
    return (
        spread,
        CALIBRATED,
        *SIM_AOU_NOTES,
        f"SimAM: cosine of the attention scores{variant} of ICL with those of zero-shot (before) and of the "
        "finetuned model (after); delta compares their changes from zero-shot, and its null accounts for the row "
        "that both are taken from and for what all queries share.",
        *undefined_notes(draws),
        "Rec2FTP: of the queries finetuning put right, those ICL puts right too.",
        f"Jaccard: changes of predictions shared by ICL and finetuning ({config.agreement.replace('_', ' ')}).",
    )
