"""The figures of a drift measurement: over checkpoints, by layer and checkpoint, between every two checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..analyses.weights.drift import DriftStudy
from ..analyses.weights.drift_measurement import AGAINST
from . import style
from .drift_table import accuracies_of
from .heatmap import column_names, draw_heatmap, layer_ticks
from .style import MATRIX_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP_COLOURS = {"previous": "#6e6e6e", "first": "#0072b2", "last": "#d55e00"}
_TASK_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def gap_figure(study: DriftStudy) -> Figure:
    """Draw the parameter gap over checkpoints, and accuracy in context beside it (Shen et al. Figs. 3 and 9).

    Args:
        study: The measurement.
    """
    places = np.arange(len(study.labels))
    panels = 2 if study.accuracies else 1
    with style.figure_style():
        figure = style.new_figure(7.2, 2.2 + 2.0 * panels)
        axes = np.atleast_1d(figure.subplots(panels, 1, sharex=True))
        for against in AGAINST:
            gaps = study.parameter_gap(against).numpy()
            axes[0].plot(places, gaps, "o-", color=_GAP_COLOURS[against], label=f"to the {against}")
        axes[0].set(ylabel="mean |ΔW|", ylim=(0, None))
        axes[0].legend(title="parameter gap", loc="center left", bbox_to_anchor=(1.0, 0.5))
        if study.accuracies:
            _accuracy_panel(axes[1], study, places)
        column_names(axes[-1], study.labels)
        axes[-1].set_xlabel("checkpoint")
        figure.suptitle("how far the weights move, over checkpoints")
    return figure


def _accuracy_panel(axes: Axes, study: DriftStudy, places: np.ndarray) -> None:
    tasks = tuple(dict.fromkeys(accuracy.task for accuracy in study.accuracies))
    for index, task in enumerate(tasks):
        values = np.array([accuracies_of(study.accuracies, label, task) for label in study.labels]) * 100
        mean, spread = values.mean(axis=1), values.std(axis=1)
        colour = _TASK_COLOURS[index % len(_TASK_COLOURS)]
        axes.fill_between(places, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
        axes.plot(places, mean, "o-", color=colour, label=task)
        chance = 100 * next(entry.chance for entry in study.accuracies if entry.task == task)
        axes.axhline(chance, color=colour, linestyle=":", linewidth=1)
    axes.set(ylabel="ICL accuracy (%)", ylim=(0, 104))
    axes.legend(title="task (dotted: chance)", loc="center left", bbox_to_anchor=(1.0, 0.5))


def layer_step_figure(study: DriftStudy) -> Figure:
    """Draw the relative Frobenius norm of each update by layer and checkpoint, one panel a matrix.

    Args:
        study: The measurement.
    """
    layers = np.array(sorted({row.layer for row in study.rows}))
    matrices = study.config.matrices
    maps = {matrix: np.full((len(layers), len(study.labels) - 1), np.nan) for matrix in matrices}
    for row in study.rows:
        if row.against == "previous":
            place = int(np.searchsorted(layers, row.layer)), row.checkpoint - 1
            maps[row.matrix][place] = row.drift.relative_frobenius
    high = max(float(np.nanmax(values)) for values in maps.values())
    with style.figure_style():
        figure = style.new_figure(2.4 + 2.6 * len(matrices), min(9.0, max(3.2, 2.0 + 0.16 * len(layers))))
        panels = np.atleast_1d(figure.subplots(1, len(matrices), sharey=True))
        image: Any = None
        for axes, matrix in zip(panels, matrices, strict=True):
            image = draw_heatmap(axes, maps[matrix], 0, high)
            column_names(axes, study.labels[1:])
            axes.set(title=MATRIX_NAMES[matrix], xlabel="checkpoint")
        layer_ticks(panels[0], layers)
        panels[0].set_ylabel("layer")
        figure.colorbar(image, ax=list(panels), label="‖ΔW‖ / ‖W‖", fraction=0.05, pad=0.02)
        figure.suptitle("update since the previous checkpoint")
    return figure


def pairwise_figure(study: DriftStudy) -> Figure:
    """Draw the mean of |ΔW| between every two checkpoints.

    Args:
        study: The measurement.
    """
    with style.figure_style():
        figure = style.new_figure(5.6, 4.8)
        axes = figure.subplots()
        image = draw_heatmap(axes, study.pairwise.numpy(), 0, None)
        column_names(axes, study.labels)
        layer_ticks(axes, np.array(study.labels))
        axes.set(xlabel="checkpoint", ylabel="checkpoint", title="gap between every two checkpoints")
        figure.colorbar(image, ax=axes, label="mean |ΔW|")
    return figure
