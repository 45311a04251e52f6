"""One figure of sparsity: the construction, a layer trained for ICL, a model pretrained on text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import style
from .figure_text import short_name
from .panels import finish, panels
from .ticks import scale_by_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_MATRICES = {"query": "W_Q", "key": "W_K", "value": "W_V"}
_PRODUCTS = {"key_query": ("W_Kᵀ W_Q", "-"), "projected_value": ("P W_V", "--")}


def sparsity_of(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw how sparse the constructed, the trained and the pretrained weights are.

    Args:
        study: A study of the construction.
        width: In inches.
    """
    return construction_sparsity_figure(study.tables["sparsity"], study.tables["zeros"], width=width)


def construction_sparsity_figure(
    sparsity: Frame, zeros: Frame, *, title: str = "", width: float = style.TWO_COLUMNS
) -> Figure:
    """Draw the fraction of entries below δ against δ, one panel a matrix (Shen et al. §3.2 and Fig. 2).

    The first panels take δ as it is, the others in standard deviations of each matrix. The last of each have the
    rescaled products of the constructed and the trained layer.

    Args:
        sparsity: One row a kind of weights, matrix and threshold.
        zeros: One row a matrix of the construction at the pretrained model's width; none without such a model.
        title: What stands above; by default what is drawn.
        width: In inches.
    """
    with style.figure_style():
        made = panels(width, 2 * (len(_MATRICES) + 1), height=1.75, least=1.6)
        titles, said = [], ""
        for place, fraction in enumerate(("below", "below_relative")):
            first = place * (len(_MATRICES) + 1)
            for axes, (matrix, name) in zip(made.axes[first:], _MATRICES.items(), strict=False):
                _matrix_panel(axes, sparsity[sparsity["matrix"] == matrix], fraction, zeros)
                titles.append(name)
            _products_panel(made.axes[first + len(_MATRICES)], sparsity, fraction)
            titles.append("products, rescaled")
            drawn = sparsity[fraction].to_numpy(dtype=float)
            for axes in made.axes[first : first + len(_MATRICES) + 1]:
                axes.set_xscale("log")
                said = scale_by_size(
                    axes, "y", np.concatenate([drawn, zeros["zeros"].to_numpy(dtype=float)]) * 100
                )
                axes.set(xlabel="δ" if fraction == "below" else "δ (std)")
                low, high = sparsity["threshold"].min(), sparsity["threshold"].max()
                decades = [10.0**power for power in range(-12, 6, 2)]
                axes.set_xticks([tick for tick in decades if low <= tick <= high])
                axes.minorticks_off()
        for axes in made.left:
            axes.set_ylabel(f"entries with |w| < δ\n(%{said})")
        made.title(titles)
        weights = ", ".join(dict.fromkeys(sparsity["weights"]))
        about = title or f"sparsity of attention weights: {weights}"
        finish(made.figure, title=about, notes=["δ (std): in standard deviations of the matrix"])
    return made.figure


def _matrix_panel(axes: Axes, of_matrix: Frame, fraction: str, zeros: Frame) -> None:
    for weights, rows in of_matrix.groupby("weights", sort=False):
        whose = f"d = {rows['width'].iloc[0]}"
        if weights == "pretrained on text":
            model = zeros["model"].iloc[0].rstrip("/").rsplit("/", 1)[-1]
            whose = f"{short_name(model)}, {whose}, mean over layers"
        label = f"{weights} ({whose})"
        colour = style.WEIGHT_COLOURS[str(weights)]
        axes.plot(rows["threshold"], 100 * rows[fraction], color=colour, label=label)
    at_width = zeros[zeros["matrix"].isin(set(of_matrix["matrix"]))]
    for _, row in at_width.iterrows():
        axes.axhline(
            100 * row["zeros"],
            color=style.WEIGHT_COLOURS["constructed"],
            linestyle=":",
            label=f"zeros of the construction at d = {row['width']}, N_x = N_y",
        )


def _products_panel(axes: Axes, sparsity: Frame, fraction: str) -> None:
    products = sparsity[sparsity["matrix"].isin(_PRODUCTS)]
    for (weights, product), rows in products.groupby(["weights", "matrix"], sort=False):
        name, line = _PRODUCTS[product]
        axes.plot(
            rows["threshold"],
            100 * rows[fraction],
            color=style.WEIGHT_COLOURS[str(weights)],
            linestyle=line,
            label=f"{name}, {weights}",
        )
