"""The figure of where finetuning wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..study.names import MATRIX_NAMES
from . import style
from .comparison_figures import figure_title
from .heatmap import whole_number_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study


def finetuning_drift_of(study: Study) -> Figure:
    """Draw where a study's finetuning wrote.

    Args:
        study: A study of one comparison.
    """
    return finetuning_drift_figure(study.tables["finetuning_drift"], title=figure_title(study))


def finetuning_drift_figure(drift: Frame, *, title: str = "") -> Figure:
    """Draw the relative Frobenius norm of what finetuning changed, by layer and matrix; several draws are averaged.

    Args:
        drift: One row a draw, layer and matrix.
        title: What the figure is about.
    """
    with style.figure_style():
        figure = style.new_figure(6.4, 3.4)
        axes = figure.subplots()
        for matrix, found in drift.groupby("matrix", sort=False):
            gaps = found.groupby("layer")["relative_frobenius"].mean()
            name = str(matrix)
            axes.plot(
                gaps.index.to_numpy(dtype=int),
                gaps.to_numpy(dtype=float),
                "o-",
                color=style.MATRIX_COLOURS[name],
                label=MATRIX_NAMES[name],
            )
        whole_number_ticks(axes.xaxis)
        axes.set(xlabel="layer", ylabel="‖ΔW‖ / ‖W‖", ylim=(0, None))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.suptitle(f"{title}: where finetuning wrote" if title else "where finetuning wrote")
    return figure
