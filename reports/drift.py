"""How weights move: the numbers over checkpoints, and the sheet."""

from __future__ import annotations

from statistics import mean, pstdev
from typing import TYPE_CHECKING

import numpy as np

from ..study.sheet import Block, Sheet, sheet_of
from .numbers import number

if TYPE_CHECKING:
    from ..study.columns import Frame
    from ..study.study import Study


def gaps_by_checkpoint(gaps: Frame, against: str = "previous", measure: str = "mean_absolute") -> np.ndarray:
    """Return the gap at each checkpoint, mean over matrices and layers (Shen et al. App. B), ``[C]``.

    Args:
        gaps: One row a checkpoint and checkpoint compared with.
        against: Which other checkpoint each is compared with; NaN where there is none.
        measure: ``mean_absolute``, ``rms``, ``relative_frobenius`` or ``update_cosine``.
    """
    found = np.full(1 + int(gaps["place"].max()), np.nan)
    rows = gaps[gaps["against"] == against]
    found[rows["place"].to_numpy(int)] = rows[measure].to_numpy()
    return found


def accuracies_by_checkpoint(accuracy: Frame, task: str) -> list[list[float]]:
    """Return the accuracies in context on one task: of each checkpoint, one a draw.

    Args:
        accuracy: One row a checkpoint, task and draw of demonstrations.
        task: The task.
    """
    rows = accuracy[accuracy["task"] == task]
    return [of_one["icl"].tolist() for _, of_one in rows.groupby("place")]


def drift_sheet(study: Study) -> Sheet:
    """Return one row a checkpoint, mean over matrices and layers, and accuracies in context.

    Args:
        study: A study of drift.
    """
    gaps, accuracy = study.tables["gaps"], study.tables["accuracy"]
    tasks = tuple(dict.fromkeys(accuracy["task"]))
    columns = {
        "mean |ΔW|": [number(gap) for gap in gaps_by_checkpoint(gaps)],
        "relative": [number(gap) for gap in gaps_by_checkpoint(gaps, measure="relative_frobenius")],
        "cosine": [number(gap, ".2f") for gap in gaps_by_checkpoint(gaps, measure="update_cosine")],
        "from first": [number(gap) for gap in gaps_by_checkpoint(gaps, "first")],
        "to last": [number(gap) for gap in gaps_by_checkpoint(gaps, "last")],
    }
    cells: list[list[tuple[str, ...]]] = [[(text,) for text in texts] for texts in columns.values()]
    cells += [
        [
            (f"{100 * mean(found):.1f}", f"± {100 * pstdev(found):.1f}")
            for found in accuracies_by_checkpoint(accuracy, task)
        ]
        for task in tasks
    ]
    headings = (*columns, *(f"{task} (ICL %)" for task in tasks))
    rows = tuple(
        (label, tuple(column[place] for column in cells))
        for place, label in enumerate(study.tables["checkpoints"]["checkpoint"])
    )
    notes = [
        "mean over matrices and layers; ΔW, its relative Frobenius norm, and the cosine with the update before "
        "(0 for a random walk, −1/2 for states that scatter about one)"
    ]
    if tasks:
        notes.append(
            f"ICL: accuracy over the label set with {study.config.shots} demonstrations, "
            f"mean ± std over {len(study.config.seeds)} draws"
        )
    return sheet_of(study, (Block("checkpoint", headings, rows),), tuple(notes))
