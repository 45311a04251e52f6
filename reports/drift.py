"""How weights move: the sheet, and the figures over checkpoints, by layer, and between every two checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, pstdev
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import MATRIX_NAMES
from ..study.sheet import Block, Sheet, sheet_of
from . import style
from .heatmap import column_names, draw_heatmap, layer_ticks
from .numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_GAP_COLOURS = {"previous": "#6e6e6e", "first": "#0072b2", "last": "#d55e00"}
_TASK_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


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


def drift_figure(study: Study) -> Figure:
    """Draw the parameter gap over checkpoints, and accuracy in context beside it (Shen et al. Figs. 3 and 9).

    Args:
        study: A study of drift.
    """
    return gap_figure(study.tables["gaps"], study.tables["accuracy"], _labels(study))


def gap_figure(gaps: Frame, accuracy: Frame, labels: Sequence[str], *, title: str = "") -> Figure:
    """Draw parameter gaps over checkpoints, and accuracies in context, if there are any, below them.

    Args:
        gaps: One row a checkpoint and checkpoint compared with.
        accuracy: One row a checkpoint, task and draw of demonstrations.
        labels: What each checkpoint is called.
        title: What stands above.
    """
    places = np.arange(len(labels))
    panels = 2 if len(accuracy) else 1
    with style.figure_style():
        figure = style.new_figure(7.2, 2.2 + 2.0 * panels)
        axes = np.atleast_1d(figure.subplots(panels, 1, sharex=True))
        for against, colour in _GAP_COLOURS.items():
            values = gaps_by_checkpoint(gaps, against)
            axes[0].plot(places, values, "o-", color=colour, label=f"to the {against}")
        axes[0].set(ylabel="mean |ΔW|", ylim=(0, None))
        axes[0].legend(title="parameter gap", loc="center left", bbox_to_anchor=(1.0, 0.5))
        if len(accuracy):
            _accuracy_panel(axes[1], accuracy, places)
        column_names(axes[-1], labels)
        axes[-1].set_xlabel("checkpoint")
        figure.suptitle(title or "how far the weights move, over checkpoints")
    return figure


def _accuracy_panel(axes: Axes, accuracy: Frame, places: np.ndarray) -> None:
    for index, (task, rows) in enumerate(accuracy.groupby("task", sort=False)):
        values = np.array(accuracies_by_checkpoint(accuracy, task)) * 100
        middle, spread = values.mean(axis=1), values.std(axis=1)
        colour = _TASK_COLOURS[index % len(_TASK_COLOURS)]
        axes.fill_between(places, middle - spread, middle + spread, color=colour, alpha=0.18, linewidth=0)
        axes.plot(places, middle, "o-", color=colour, label=task)
        axes.axhline(100 * rows["chance"].iloc[0], color=colour, linestyle=":", linewidth=1)
    axes.set(ylabel="ICL accuracy (%)", ylim=(0, 104))
    axes.legend(title="task (dotted: chance)", loc="center left", bbox_to_anchor=(1.0, 0.5))


def layers_figure(study: Study) -> Figure:
    """Draw the relative Frobenius norm of each update by layer and checkpoint, one panel a matrix.

    Args:
        study: A study of drift.
    """
    return layer_step_figure(
        study.tables["drift"], _labels(study), title="update since the previous checkpoint"
    )


def layer_step_figure(drift: Frame, labels: Sequence[str], *, title: str = "") -> Figure:
    """Draw the relative Frobenius norm of each update by layer and checkpoint, one panel a matrix.

    Args:
        drift: One row a layer, matrix, checkpoint and checkpoint compared with.
        labels: What each checkpoint is called.
        title: What stands above.
    """
    updates = drift[drift["against"] == "previous"]
    layers = np.array(sorted(set(updates["layer"])))
    maps = {
        matrix: rows.pivot(index="layer", columns="place", values="relative_frobenius").to_numpy()
        for matrix, rows in updates.groupby("matrix", sort=False)
    }
    high = float(np.nanmax(updates["relative_frobenius"].to_numpy()))
    with style.figure_style():
        figure = style.new_figure(2.4 + 2.6 * len(maps), min(9.0, max(3.2, 2.0 + 0.16 * len(layers))))
        panels = np.atleast_1d(figure.subplots(1, len(maps), sharey=True))
        image: Any = None
        for axes, (matrix, values) in zip(panels, maps.items(), strict=True):
            image = draw_heatmap(axes, values, 0, high)
            column_names(axes, labels[1:])
            axes.set(title=MATRIX_NAMES[matrix], xlabel="checkpoint")
        layer_ticks(panels[0], layers)
        panels[0].set_ylabel("layer")
        figure.colorbar(image, ax=list(panels), label="‖ΔW‖ / ‖W‖", fraction=0.05, pad=0.02)
        figure.suptitle(title)
    return figure


def pairs_figure(study: Study) -> Figure:
    """Draw the mean of |ΔW| between every two checkpoints.

    Args:
        study: A study of drift.
    """
    return pairwise_figure(study.tables["between"], _labels(study), title="gap between every two checkpoints")


def pairwise_figure(between: Frame, labels: Sequence[str], *, title: str = "") -> Figure:
    """Draw the mean of |ΔW| between every two checkpoints.

    Args:
        between: One row a checkpoint and another one.
        labels: What each checkpoint is called.
        title: What stands above.
    """
    values = between.pivot(index="place", columns="other_place", values="mean_absolute").to_numpy()
    with style.figure_style():
        figure = style.new_figure(5.6, 4.8)
        axes = figure.subplots()
        image = draw_heatmap(axes, values, 0, None)
        column_names(axes, labels)
        layer_ticks(axes, np.array(labels))
        axes.set(xlabel="checkpoint", ylabel="checkpoint", title=title)
        figure.colorbar(image, ax=axes, label="mean |ΔW|")
    return figure


def _labels(study: Study) -> list[str]:
    return study.tables["checkpoints"]["checkpoint"].tolist()
