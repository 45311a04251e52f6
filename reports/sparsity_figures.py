"""The figures of a sparsity measurement: against the threshold, by layer, by layer and head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..analyses.weights.sparsity import Sparsity
from ..probes import constructed_sparsity
from . import style
from .heatmap import draw_heatmap, layer_ticks, whole_number_ticks
from .style import MATRIX_COLOURS, MATRIX_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def threshold_figure(study: Sparsity) -> Figure:
    """Draw the fraction of entries below δ against δ, mean over layers, beside von Oswald's construction.

    The left panel takes δ as it is (Shen et al. Fig. 2), the right one in standard deviations of each matrix.

    Args:
        study: The measurement.
    """
    with style.figure_style():
        figure = style.new_figure(9.0, 3.9)
        for axes, relative in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
            order = np.argsort(study.config.thresholds)
            thresholds = np.array(study.config.thresholds)[order]
            for matrix in study.config.matrices:
                fractions = 100 * study.averaged(matrix, relative=relative).numpy()[order]
                axes.plot(
                    thresholds, fractions, "o-", color=MATRIX_COLOURS[matrix], label=MATRIX_NAMES[matrix]
                )
            if not relative:
                _constructed_lines(axes, study)
            axes.set_xscale("log")
            axes.set(ylim=(-3, 104), xlabel="δ in standard deviations" if relative else "δ")
            axes.set_title("relative to the matrix's spread" if relative else "absolute")
        figure.axes[0].set_ylabel("entries with |w| < δ (%)")
        figure.axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3)
        figure.suptitle(f"{_title(study)}: sparsity, mean over layers")
    return figure


def _constructed_lines(axes: Axes, study: Sparsity) -> None:
    fractions = constructed_sparsity(study.width)
    alike = 100 * fractions["query"]
    axes.axhline(alike, color="#333333", linestyle=":", linewidth=1.2, label="constructed W_Q, W_K")
    axes.axhline(
        100 * fractions["value"], color="#333333", linestyle="--", linewidth=1.2, label="constructed W_V"
    )


def layer_figure(study: Sparsity, *, relative: bool = False) -> Figure:
    """Draw the fraction of entries below each δ by layer, one panel a matrix (Shen et al. Fig. 10).

    Args:
        study: The measurement.
        relative: Whether δ counts in standard deviations of each matrix.
    """
    from matplotlib import colormaps

    matrices = study.config.matrices
    thresholds = study.config.thresholds
    colours = colormaps["viridis"](np.linspace(0.05, 0.85, len(thresholds)))
    with style.figure_style():
        figure = style.new_figure(2.2 + 2.6 * len(matrices), 3.4)
        panels = np.atleast_1d(figure.subplots(1, len(matrices), sharey=True))
        for axes, matrix in zip(panels, matrices, strict=True):
            rows = [row.below_relative if relative else row.below for row in study.of(matrix)]
            values = 100 * torch.stack(rows).numpy()
            for index, threshold in enumerate(thresholds):
                axes.plot(study.layers, values[:, index], "o-", color=colours[index], label=f"{threshold:g}")
            whole_number_ticks(axes.xaxis)
            axes.set(title=MATRIX_NAMES[matrix], xlabel="layer", ylim=(-3, 104))
        panels[0].set_ylabel("entries with |w| < δ (%)")
        title = "δ in std" if relative else "δ"
        panels[-1].legend(title=title, loc="center left", bbox_to_anchor=(1.02, 0.5))
        figure.suptitle(f"{_title(study)}: sparsity by layer")
    return figure


def head_figure(study: Sparsity, threshold: float | None = None) -> Figure:
    """Draw the fraction of entries below one δ by layer and head, one panel a matrix.

    Args:
        study: The measurement, of a model whose heads are known.
        threshold: One of the measured thresholds; by default the largest.

    Raises:
        ValueError: If the threshold was not measured, or heads are unknown.
    """
    chosen = max(study.config.thresholds) if threshold is None else threshold
    if chosen not in study.config.thresholds:
        raise ValueError(f"threshold {chosen:g} was not measured: {study.config.thresholds} were")
    index = study.config.thresholds.index(chosen)
    maps = {}
    for matrix in study.config.matrices:
        rows = [row.head_below for row in study.of(matrix)]
        if any(row is None for row in rows):
            raise ValueError("the heads of this checkpoint are unknown: give its family")
        maps[matrix] = 100 * np.stack([row[:, index].numpy() for row in rows if row is not None])
    layers = np.array(study.layers)
    low = min(values.min() for values in maps.values())
    high = max(values.max() for values in maps.values())
    with style.figure_style():
        figure = style.new_figure(
            min(13.0, 2.4 + 2.4 * len(maps)), min(9.0, max(3.2, 1.7 + 0.16 * len(layers)))
        )
        panels = np.atleast_1d(figure.subplots(1, len(maps)))
        image: Any = None
        for axes, (matrix, values) in zip(panels, maps.items(), strict=True):
            image = draw_heatmap(axes, values, low, high)
            layer_ticks(axes, layers)
            axes.set(title=MATRIX_NAMES[matrix], xlabel="head")
        panels[0].set_ylabel("layer")
        figure.colorbar(image, ax=list(panels), label=f"|w| < {chosen:g} (%)", fraction=0.05, pad=0.02)
        figure.suptitle(f"{_title(study)}: sparsity by head")
    return figure


def _title(study: Sparsity) -> str:
    name = study.config.model.rstrip("/").rsplit("/", 1)[-1]
    return name if study.config.revision is None else f"{name}@{study.config.revision}"
