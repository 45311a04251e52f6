"""The figures of the papers' experiments: one look, the same order and colours of arms in all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import GD, ICL, ZERO_SHOT
from . import style
from .drift import gaps_by_checkpoint
from .drift_figures import draw_accuracies
from .figure_text import short_name
from .intervals import spread_words
from .outputs_figures import checkpoint_pairs_figure, epochs_figure
from .panels import finish, panels
from .papers_bars import (
    accuracy_by_shots_figure,
    bar_figure,
    experiment_title,
    partition_figure,
    shown_parts,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..study.columns import Frame

_NAME = 18.0
"""Points that the name of a checkpoint needs along its axis."""


def reproduction_figures(study: Any) -> dict[str, Callable[..., Figure]]:
    """Return what draws each figure of an experiment: ``figure``, and where each part has its own, the others' too.

    Args:
        study: An experiment, run.
    """
    name = study.config.experiment.figure
    if name not in OF_EACH_PART:
        return {"figure": FIGURES[name]}
    return {
        f"figure-{label}" if place else "figure": partial(_of_part, label=label, kind=OF_EACH_PART[name])
        for place, label in enumerate(study.parts)
    }


def _of_part(study: Any, *, label: str, kind: str | None, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw what the paper draws of one part of the experiment."""
    return study.parts[label].plot(kind, width=width)


def accuracy_against_gap_figure(result: Any, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw accuracy in context against the parameter gap to the first checkpoint, one line a task.

    Args:
        result: An experiment, run.
        width: In inches.
    """
    (study,) = result.studies.values()
    gaps = np.nan_to_num(gaps_by_checkpoint(study.tables["gaps"], "first"))
    labels, accuracy = study.tables["checkpoints"]["checkpoint"].tolist(), study.tables["accuracy"]
    with style.figure_style():
        made = panels(width, 1, height=2.6)
        (axes,) = made.axes
        draw_accuracies(axes, accuracy, gaps, chance=True)
        above = axes.secondary_xaxis("top")
        kept = _apart(gaps, _NAME * float(np.ptp(gaps) or 1.0) / (made.points - 60))
        above.set_ticks(
            [float(gaps[place]) for place in kept], [short_name(labels[place], 12) for place in kept]
        )
        above.set_xticklabels([short_name(labels[place], 12) for place in kept], rotation=45, ha="left")
        above.set_xlabel("checkpoint (some of them)")
        axes.set_xlabel(f"parameter gap to checkpoint {labels[0]}, mean |ΔW|")
        about = f"{experiment_title(result)}: ICL accuracy while the weights move"
        finish(made.figure, title=about, intervals=spread_words(accuracy["seed"].nunique()))
    return made.figure


def outputs_figure(result: Any, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw accuracy, token overlap and OCS over epochs: one row a number of demonstrations or a model.

    One line for each arm (colour) and learning rate (line); the dashed line is in-context learning, with its own
    demonstrations in another order where two outputs are compared.

    Args:
        result: An experiment, run.
        width: In inches.
    """
    shown = result.experiment
    cells: list[tuple[str, Frame]] = []
    names = shown_parts(result, list(result.studies))
    for name, study in zip(names, result.studies.values(), strict=True):
        rows = study.tables["rows"]
        rows = rows[[_is_shown(arm, shown.arms) for arm in rows["arm"]]]
        for shots in (count for count in study.config.shots if not shown.shots or count in shown.shots):
            cells.append((f"N = {shots}" if len(names) == 1 else name, rows[rows["shots"] == shots]))
    task = cells[0][1]["task"].iloc[0]
    return epochs_figure(cells, title=f"{experiment_title(result)}: {task}", width=width)


def _is_shown(arm: str, arms: Sequence[str]) -> bool:
    return not arms or arm in (ICL, ZERO_SHOT) or arm in arms


def pairwise_figure(result: Any, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw token overlap and OCS between every two checkpoints of gradient descent, mean over draws.

    Args:
        result: An experiment, run.
        width: In inches.
    """
    (study,) = result.studies.values()
    seeds = study.tables["rows"]["seed"].unique().tolist()
    maps, names = {}, ()
    for measure, title in (("token_overlap", "token overlap"), ("ocs", "OCS")):
        draws = [study.pairwise(GD, measure, seeds=(seed,)) for seed in seeds]
        names = draws[0].labels
        maps[title] = np.mean([pairs.values.numpy() for pairs in draws if pairs.labels == names], axis=0)
    return checkpoint_pairs_figure(
        maps,
        names,
        title=f"{experiment_title(result)}: checkpoints of GD against each other",
        notes=[f"mean over {len(seeds)} draws" if len(seeds) > 1 else ""],
        width=width,
    )


def _apart(places: np.ndarray, least: float) -> list[int]:
    """Return which places are so far from all that are kept already that they can be named, the last one first."""
    kept: list[int] = []
    for place in range(len(places) - 1, -1, -1):
        if all(abs(places[place] - places[other]) >= least for other in kept):
            kept.append(place)
    return kept


OF_EACH_PART: Mapping[str, str | None] = {
    "study": None,
    "thresholds": None,
    "layers": "layers",
    "gap": None,
    "order_by_epoch": "epochs",
}
"""Figures that are each part's own, and which of its pictures; None is its first."""
FIGURES: Mapping[str, Callable[..., Figure]] = {
    "accuracy_against_gap": accuracy_against_gap_figure,
    "outputs": outputs_figure,
    "accuracy_by_shots": accuracy_by_shots_figure,
    "pairwise": pairwise_figure,
    "bars": bar_figure,
    "partition": partition_figure,
}
