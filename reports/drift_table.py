"""The table of a drift measurement."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, pstdev

from ..analyses.weights.drift import DriftStudy
from ..analyses.weights.icl_accuracy import IclAccuracy
from .plain_table import aligned, number


def drift_text(study: DriftStudy) -> str:
    """Return the table as plain text: one row a checkpoint, mean over matrices and layers."""
    tasks = tuple(dict.fromkeys(accuracy.task for accuracy in study.accuracies))
    previous = study.parameter_gap("previous")
    relative = study.parameter_gap("previous", "relative_frobenius")
    first, last = study.parameter_gap("first"), study.parameter_gap("last")
    rows = []
    for index, label in enumerate(study.labels):
        cosines = [
            row.update_cosine
            for row in study.rows
            if row.checkpoint == index
            and row.against == "previous"
            and row.update_cosine == row.update_cosine
        ]
        cells = [
            number(float(previous[index])),
            number(float(relative[index])),
            number(mean(cosines) if cosines else float("nan"), ".2f"),
            number(float(first[index])),
            number(float(last[index])),
        ]
        for task in tasks:
            found = accuracies_of(study.accuracies, label, task)
            cells.append(f"{100 * mean(found):.1f} ± {100 * pstdev(found):.1f}")
        rows.append([label, *cells])
    header = ["checkpoint", "mean |ΔW|", "relative", "cosine", "from first", "to last"]
    header += [f"{task} (ICL %)" for task in tasks]
    notes = [
        "mean over matrices and layers; ΔW, its relative Frobenius norm, and the cosine with the update before "
        "(0 for a random walk, −1/2 for states that scatter about one)"
    ]
    undefined, of = study.cosines
    if undefined:
        notes.append(
            f"{undefined} of {of} cosines are undefined, where an update is no longer than the rounding of the "
            "stored weights, and left out"
        )
    if tasks:
        notes.append(
            f"ICL: accuracy over the label set with {study.config.shots} demonstrations, "
            f"mean ± std over {len(study.config.seeds)} draws"
        )
    return "\n".join([*aligned(header, rows), "", *notes])


def accuracies_of(accuracies: Sequence[IclAccuracy], label: str, task: str) -> list[float]:
    """Return the accuracies in context of one checkpoint on one task, one a draw."""
    return [entry.icl for entry in accuracies if entry.checkpoint == label and entry.task == task]
