"""Outputs in context and finetuned: the sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..study.series import Series, series_of
from ..study.sheet import Block, Cell, Sheet, sheet_of
from .arm_style import spread, spread_note

if TYPE_CHECKING:
    from ..study.study import Study

_HEADINGS = (
    *("learning rate", "epoch", "accuracy %", "over labels %"),
    *("token overlap", "OCS", "best accuracy %"),
)
_READINGS = {
    "sqrt_k_minus_o": "Eq. 6 with K - |O| inside the root",
    "k_minus_o": "Eq. 6 with K - |O| outside the root",
    "none": "the cosine on shared tokens alone",
    "topk_cosine": "the cosine over all top tokens",
}


def outputs_sheet(study: Study) -> Sheet:
    """Return one row an arm and learning rate, a block a model and number of shots.

    Args:
        study: A study of outputs.
    """
    measures = ("accuracy_vocabulary", "accuracy_labels", "token_overlap", "ocs")
    grouped = list(zip(*(series_of(study.tables["rows"], measure) for measure in measures), strict=True))
    several = study.tables["rows"]["model"].nunique() > 1
    blocks = tuple(
        Block(
            f"{model}, {plural(shots)}" if several else plural(shots),
            _HEADINGS,
            tuple(
                (entry[0].arm, _cells(*entry))
                for entry in grouped
                if (entry[0].model, entry[0].shots) == (model, shots)
            ),
        )
        for model, shots in dict.fromkeys((entry[0].model, entry[0].shots) for entry in grouped)
    )
    config = study.config
    notes = (
        f"accuracy: over the whole vocabulary; token overlap and OCS: top {config.top_k} tokens shared with ICL, "
        f"of ICL itself with other orders of the same demonstrations ({_READINGS[config.overlap_norm]})",
        spread_note(
            len(config.seeds),
            [entry[0] for entry in grouped],
            "best: the epoch of the highest accuracy, which these queries chose",
        ),
    )
    return sheet_of(study, blocks, notes)


def plural(shots: int) -> str:
    """Return a number of demonstrations in words."""
    return f"{shots} demonstration{'s' * (shots != 1)}"


def _cells(accuracy: Series, labels: Series, overlap: Series, cosine: Series) -> tuple[Cell, ...]:
    means = accuracy.mean
    best: Cell = ("–",)
    if accuracy.epochs[-1] is not None and not np.isnan(means).all():
        place = int(np.nanargmax(means))
        mean, *std = spread(accuracy.values[:, place], ".1f", 100)
        best = (mean, *(std or ("",)), f"(epoch {accuracy.epochs[place]})")
    return (
        (accuracy.rate_name,),
        ("–" if accuracy.epochs[-1] is None else str(accuracy.epochs[-1]),),
        spread(accuracy.values[:, -1], ".1f", 100),
        spread(labels.values[:, -1], ".1f", 100),
        spread(overlap.values[:, -1], ".2f"),
        spread(cosine.values[:, -1], ".2f"),
        best,
    )
