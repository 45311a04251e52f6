"""The table of a study of outputs."""

from __future__ import annotations

import math

import numpy as np

from ..analyses.arms.outputs import OutputsStudy
from ..analyses.arms.series import Series
from ..analyses.prompt_text import prompt_lines
from .order_table import diverged_note, draws, spread
from .plain_table import aligned

_READINGS = {
    "sqrt_k_minus_o": "Eq. 6 with K - |O| inside the root",
    "k_minus_o": "Eq. 6 with K - |O| outside the root",
    "none": "the cosine on shared tokens alone",
    "topk_cosine": "the cosine over all top tokens",
}


def outputs_text(study: OutputsStudy) -> str:
    """Return the table as plain text: one row an arm and learning rate, a block a model and number of shots."""
    measures = ("accuracy_vocabulary", "accuracy_labels", "token_overlap", "ocs")
    grouped = list(zip(*(study.series(measure) for measure in measures), strict=True))
    header = [
        "arm",
        "learning rate",
        "epoch",
        "accuracy %",
        "over labels %",
        "token overlap",
        "OCS",
        "best accuracy %",
    ]
    lines: list[str] = []
    for model, shots in dict.fromkeys((entry[0].model, entry[0].shots) for entry in grouped):
        rows = [_cells(*entry) for entry in grouped if (entry[0].model, entry[0].shots) == (model, shots)]
        first = next(row for row in study.rows if row.model == model)
        lines += [f"{model} · {first.task} · {plural(shots)} · {first.queries} queries", ""]
        lines += [*aligned(header, rows), ""]
    notes = _notes(study, [entry[0] for entry in grouped])
    return "\n".join([*lines, *notes, *prompt_lines(study.prompts)])


def plural(shots: int) -> str:
    """Return a number of demonstrations in words."""
    return f"{shots} demonstration{'s' * (shots != 1)}"


def _cells(accuracy: Series, labels: Series, overlap: Series, cosine: Series) -> list[str]:
    means = accuracy.mean
    best = "–"
    if accuracy.epochs[-1] is not None and not np.isnan(means).all():
        place = int(np.nanargmax(means))
        best = f"{spread(accuracy.values[:, place], '.1f', 100)} (epoch {accuracy.epochs[place]})"
    return [
        accuracy.arm,
        accuracy.rate_name,
        "–" if accuracy.epochs[-1] is None else str(accuracy.epochs[-1]),
        spread(accuracy.values[:, -1], ".1f", 100),
        spread(labels.values[:, -1], ".1f", 100),
        spread(overlap.values[:, -1], ".2f"),
        spread(cosine.values[:, -1], ".2f"),
        best,
    ]


def _notes(study: OutputsStudy, series: list[Series]) -> list[str]:
    config = study.config
    notes = [
        f"accuracy: over the whole vocabulary; token overlap and OCS: top {config.top_k} tokens shared with ICL, "
        f"of ICL itself with other orders of the same demonstrations ({_READINGS[config.overlap_norm]})",
        f"mean ± std over {draws(config.seeds)} of demonstrations"
        + (" and the layers drawn" if any(row.layer is not None for row in study.rows) else "")
        + "; best: the epoch of the highest accuracy, which these queries chose",
    ]
    for model, shots in study.shots_without_icl:
        notes.append(
            f"no ICL with {plural(shots)}: they do not fit the context window of {model}"
            if not _shown(study, model, shots)
            else f"ICL with {plural(shots)} only on the draws that fit the context window of {model}"
        )
    if any(math.isnan(row.token_overlap) for row in study.rows if row.arm == "ICL"):
        notes.append("a single demonstration has no other order to compare ICL with")
    return [*notes, *diverged_note(series)]


def _shown(study: OutputsStudy, model: str, shots: int) -> bool:
    return any((row.model, row.shots, row.arm) == (model, shots, "ICL") for row in study.rows)
