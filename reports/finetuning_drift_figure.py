"""The figure of where finetuning wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..analyses.comparison.draw import Draw
from . import style
from .heatmap import whole_number_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def finetuning_drift_figure(draws: Sequence[Draw], *, title: str = "") -> Figure:
    """Draw the relative Frobenius norm of what finetuning changed, by layer and matrix; several draws are averaged.

    Args:
        draws: One or more draws of the same model.
        title: What the figure is about.
    """
    rows = [row for draw in draws for row in draw.finetuned.drift]
    layers = sorted({row.layer for row in rows})
    with style.figure_style():
        figure = style.new_figure(6.4, 3.4)
        axes = figure.subplots()
        for matrix in dict.fromkeys(row.matrix for row in rows):
            gaps = [
                np.mean(
                    [
                        row.drift.relative_frobenius
                        for row in rows
                        if row.matrix == matrix and row.layer == layer
                    ]
                )
                for layer in layers
            ]
            axes.plot(
                layers, gaps, "o-", color=style.MATRIX_COLOURS[matrix], label=style.MATRIX_NAMES[matrix]
            )
        whole_number_ticks(axes.xaxis)
        axes.set(xlabel="layer", ylabel="‖ΔW‖ / ‖W‖", ylim=(0, None))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.suptitle(f"{title}: where finetuning wrote" if title else "where finetuning wrote")
    return figure
