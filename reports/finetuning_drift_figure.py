"""The figure of where finetuning wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..study.names import MATRIX_NAMES
from . import style
from .comparison_figures import figure_title
from .intervals import draw_band, spread_words
from .panels import finish, panels
from .ticks import around, name_layers, room_for, scale_by_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study


def finetuning_drift_of(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw where finetuning wrote: how much of each matrix it changed, by layer.

    Args:
        study: A study of one comparison.
        width: In inches.
    """
    return finetuning_drift_figure(study.tables["finetuning_drift"], title=figure_title(study), width=width)


def finetuning_drift_figure(drift: Frame, *, title: str = "", width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the relative Frobenius norm of what finetuning changed, by layer and matrix, with its spread over draws.

    A matrix that finetuning left as it was has no line, and a layer of it no point: a note names them.

    Args:
        drift: One row a draw, layer and matrix.
        title: What the figure is about.
        width: In inches.
    """
    draws = drift["seed"].nunique()
    layers = np.array(sorted(set(drift["layer"])), dtype=int)
    untouched: list[str] = []
    partly, drawn = False, [np.zeros(0)]
    with style.figure_style():
        made = panels(width, 1, height=2.3)
        (axes,) = made.axes
        for matrix, found in drift.groupby("matrix", sort=False):
            by_layer = found.groupby("layer")["relative_frobenius"]
            mean = by_layer.mean().to_numpy(dtype=float)
            if not (mean > 0).any():
                untouched.append(MATRIX_NAMES[str(matrix)])
                continue
            std = by_layer.std().to_numpy(dtype=float)
            changed = np.where(mean > 0, mean, np.nan)
            partly |= bool((mean == 0).any())
            colour = style.MATRIX_COLOURS[str(matrix)]
            drawn += [changed, changed - np.nan_to_num(std), changed + np.nan_to_num(std)]
            draw_band(axes, layers, changed - std, changed + std, colour)
            axes.plot(layers, changed, "o-", color=colour, label=MATRIX_NAMES[str(matrix)])
        name_layers(axes.xaxis, layers, most=room_for(layers, made.points))
        said = scale_by_size(axes, "y", np.concatenate(drawn))
        axes.set(xlabel="layer", ylabel=f"‖ΔW‖ / ‖W‖{said}", xlim=around(layers))
        notes = [f"not changed by finetuning and left out: {', '.join(untouched)}"] if untouched else []
        if partly:
            notes.append("layers without a point were not changed")
        about = f"{title}: where finetuning wrote" if title else "where finetuning wrote"
        finish(made.figure, title=about, notes=notes, intervals=spread_words(draws))
    return made.figure
