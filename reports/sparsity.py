"""How many entries of weights are near zero: the sheet, and the figures by threshold, layer and head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import MATRIX_NAMES
from ..study.sheet import Block, Sheet, sheet_of
from . import style
from .heatmap import draw_heatmap, layer_ticks, whole_number_ticks
from .numbers import number
from .style import MATRIX_COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_CONSTRUCTED = (("W_Q, W_K", "query", ":"), ("W_V", "value", "--"))
"""Of the construction W_Q and W_K are alike: what they are called, where they stand, and their line."""
_MOMENTS = {
    "mean_absolute": "mean |w|",
    "standard_deviation": "std",
    "excess_kurtosis": "excess kurtosis",
    "stable_rank": "stable rank",
}


def sparsity_sheet(study: Study) -> Sheet:
    """Return fractions by threshold, mean over layers, beside the construction's, and how entries are spread.

    Args:
        study: A study of sparsity.
    """
    averages, constructed = study.tables["averages"], _constructed(study.tables["construction"])
    thresholds = tuple(f"{threshold:g}" for threshold in dict.fromkeys(averages["threshold"]))
    absolute = [
        *_percentages(averages, "below"),
        *(
            (f"constructed {name}", ((number(100 * constructed[matrix], ".2f"),),) * len(thresholds))
            for name, matrix, _ in _CONSTRUCTED
            if matrix in constructed
        ),
    ]
    relative = _percentages(averages, "below_relative")
    spread = [
        (
            MATRIX_NAMES[matrix],
            tuple((number(float(of_matrix[name].to_numpy().mean())),) for name in _MOMENTS),
        )
        for matrix, of_matrix in study.tables["matrices"].groupby("matrix", sort=False)
    ]
    blocks = (
        Block("entries with |w| < δ (%), mean over layers", thresholds, tuple(absolute)),
        Block("the same with δ in standard deviations", thresholds, tuple(relative)),
        Block("mean over layers", tuple(_MOMENTS.values()), tuple(spread)),
    )
    return sheet_of(study, blocks)


def _percentages(averages: Frame, column: str) -> list[tuple[str, tuple[tuple[str, ...], ...]]]:
    return [
        (MATRIX_NAMES[matrix], tuple((number(100 * value, ".2f"),) for value in of_matrix[column]))
        for matrix, of_matrix in averages.groupby("matrix", sort=False)
    ]


def _constructed(construction: Frame) -> dict[str, float]:
    return dict(zip(construction["matrix"], construction["below"], strict=True))


def sparsity_figure(study: Study) -> Figure:
    """Draw the fraction of entries below δ against δ, mean over layers (Shen et al. Fig. 2).

    Args:
        study: A study of sparsity.
    """
    title = f"{_title(study)}: sparsity, mean over layers"
    return threshold_figure(study.tables["averages"], study.tables["construction"], title=title)


def threshold_figure(averages: Frame, construction: Frame, *, title: str = "") -> Figure:
    """Draw the fraction of entries below δ against δ, mean over layers, beside von Oswald's construction.

    The left panel takes δ as it is (Shen et al. Fig. 2), the right one in standard deviations of each matrix.

    Args:
        averages: One row a matrix and threshold.
        construction: One row a matrix.
        title: What stands above.
    """
    constructed = _constructed(construction)
    with style.figure_style():
        figure = style.new_figure(9.0, 3.9)
        for axes, relative in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
            for matrix, rows in averages.groupby("matrix", sort=False):
                ordered = rows.sort_values("threshold")
                fractions = 100 * ordered["below_relative" if relative else "below"].to_numpy()
                axes.plot(
                    ordered["threshold"].to_numpy(),
                    fractions,
                    "o-",
                    color=MATRIX_COLOURS[matrix],
                    label=MATRIX_NAMES[matrix],
                )
            for name, matrix, line in _CONSTRUCTED:
                if not relative and matrix in constructed:
                    axes.axhline(
                        100 * constructed[matrix],
                        color="#333333",
                        linestyle=line,
                        linewidth=1.2,
                        label=f"constructed {name}",
                    )
            axes.set_xscale("log")
            axes.set(ylim=(-3, 104), xlabel="δ in standard deviations" if relative else "δ")
            axes.set_title("relative to the matrix's spread" if relative else "absolute")
        figure.axes[0].set_ylabel("entries with |w| < δ (%)")
        figure.axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3)
        figure.suptitle(title)
    return figure


def layers_figure(study: Study) -> Figure:
    """Draw the fraction of entries below each δ by layer (Shen et al. Fig. 10).

    Args:
        study: A study of sparsity.
    """
    return layer_figure(study.tables["fractions"], title=f"{_title(study)}: sparsity by layer")


def layer_figure(fractions: Frame, *, relative: bool = False, title: str = "") -> Figure:
    """Draw the fraction of entries below each δ by layer, one panel a matrix (Shen et al. Fig. 10).

    Args:
        fractions: One row a layer, matrix and threshold.
        relative: Whether δ counts in standard deviations of each matrix.
        title: What stands above.
    """
    from matplotlib import colormaps

    matrices = list(dict.fromkeys(fractions["matrix"]))
    thresholds = list(dict.fromkeys(fractions["threshold"]))
    colours = colormaps["viridis"](np.linspace(0.05, 0.85, len(thresholds)))
    with style.figure_style():
        figure = style.new_figure(2.2 + 2.6 * len(matrices), 3.4)
        panels = np.atleast_1d(figure.subplots(1, len(matrices), sharey=True))
        for axes, matrix in zip(panels, matrices, strict=True):
            of_matrix = fractions[fractions["matrix"] == matrix]
            for colour, threshold in zip(colours, thresholds, strict=True):
                rows = of_matrix[of_matrix["threshold"] == threshold]
                values = 100 * rows["below_relative" if relative else "below"].to_numpy()
                axes.plot(rows["layer"].to_numpy(int), values, "o-", color=colour, label=f"{threshold:g}")
            whole_number_ticks(axes.xaxis)
            axes.set(title=MATRIX_NAMES[matrix], xlabel="layer", ylim=(-3, 104))
        panels[0].set_ylabel("entries with |w| < δ (%)")
        legend = "δ in std" if relative else "δ"
        panels[-1].legend(title=legend, loc="center left", bbox_to_anchor=(1.02, 0.5))
        figure.suptitle(title)
    return figure


def heads_figure(study: Study) -> Figure:
    """Draw the fraction of entries below the largest δ by layer and head.

    Args:
        study: A study of sparsity; where heads are unknown the figure says so.
    """
    heads, title = study.tables["heads"], f"{_title(study)}: sparsity by head"
    if set(heads["matrix"]) == set(study.tables["matrices"]["matrix"]):
        return head_figure(heads, title=title)
    with style.figure_style():
        figure = style.new_figure(5.6, 1.6)
        figure.text(0.5, 0.4, "the heads of this checkpoint are unknown: give its family", ha="center")
        figure.suptitle(title)
    return figure


def head_figure(heads: Frame, threshold: float | None = None, *, title: str = "") -> Figure:
    """Draw the fraction of entries below one δ by layer and head, one panel a matrix.

    Args:
        heads: One row a layer, matrix, head and threshold.
        threshold: One of the measured thresholds; by default the largest.
        title: What stands above.

    Raises:
        ValueError: If the threshold was not measured.
    """
    measured = list(dict.fromkeys(heads["threshold"]))
    chosen = max(measured) if threshold is None else threshold
    if chosen not in measured:
        raise ValueError(f"threshold {chosen:g} was not measured: {measured} were")
    at = heads[heads["threshold"] == chosen]
    maps = {
        matrix: 100 * of_matrix.pivot(index="layer", columns="head", values="below").to_numpy()
        for matrix, of_matrix in at.groupby("matrix", sort=False)
    }
    layers = np.array(sorted(set(at["layer"])))
    low = min(np.nanmin(values) for values in maps.values())
    high = max(np.nanmax(values) for values in maps.values())
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
        figure.suptitle(title)
    return figure


def _title(study: Study) -> str:
    name = study.config.model.rstrip("/").rsplit("/", 1)[-1]
    return name if study.config.revision is None else f"{name}@{study.config.revision}"
