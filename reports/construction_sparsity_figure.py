"""One figure of sparsity: the construction, a layer trained for ICL, a model pretrained on text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_COLOURS = {"constructed": "#009e73", "trained for ICL": "#0072b2", "pretrained on text": "#d55e00"}
_MATRICES = {"query": "W_Q", "key": "W_K", "value": "W_V"}
_PRODUCTS = {"key_query": ("W_Kᵀ W_Q", "-"), "projected_value": ("P W_V", "--")}


def sparsity_of(study: Study) -> Figure:
    """Draw the sparsity of a study's weights, see `construction_sparsity_figure`.

    Args:
        study: A study of the construction.
    """
    return construction_sparsity_figure(study.tables["sparsity"], study.tables["zeros"])


def construction_sparsity_figure(sparsity: Frame, zeros: Frame, *, title: str = "") -> Figure:
    """Draw the fraction of entries below δ against δ, one column a matrix (Shen et al. §3.2 and Fig. 2).

    The upper row takes δ as it is, the lower one in standard deviations of each matrix. The last column has the
    rescaled products of the constructed and the trained layer.

    Args:
        sparsity: One row a kind of weights, matrix and threshold.
        zeros: One row a matrix of the construction at the pretrained model's width; none without such a model.
        title: What stands above; by default what is drawn.
    """
    with style.figure_style():
        figure = style.new_figure(12.0, 6.2)
        panels = figure.subplots(2, 4, sharey=True)
        for row, fraction in zip(panels, ("below", "below_relative"), strict=True):
            for axes, matrix in zip(row, _MATRICES, strict=False):
                _matrix_panel(axes, sparsity[sparsity["matrix"] == matrix], fraction, zeros)
            _products_panel(row[-1], sparsity, fraction)
            row[0].set_ylabel("entries with |w| < δ (%)")
            for axes in row:
                axes.set_xscale("log")
                axes.set(xlabel="δ" if fraction == "below" else "δ in standard deviations", ylim=(-3, 106))
        for axes, name in zip(panels[0], [*_MATRICES.values(), "products, rescaled"], strict=True):
            axes.set_title(name)
        _legends(figure, panels)
        figure.suptitle(
            title or "sparsity of attention weights: " + ", ".join(dict.fromkeys(sparsity["weights"]))
        )
    return figure


def _matrix_panel(axes: Axes, of_matrix: Frame, fraction: str, zeros: Frame) -> None:
    for weights, rows in of_matrix.groupby("weights", sort=False):
        whose = f"d = {rows['width'].iloc[0]}"
        if weights == "pretrained on text":
            whose = f"{zeros['model'].iloc[0].rstrip('/').rsplit('/', 1)[-1]}, {whose}, mean over layers"
        label = f"{weights} ({whose})"
        axes.plot(rows["threshold"], 100 * rows[fraction], color=_COLOURS[weights], label=label)
    at_width = zeros[zeros["matrix"].isin(set(of_matrix["matrix"]))]
    for _, row in at_width.iterrows():
        axes.axhline(
            100 * row["zeros"],
            color=_COLOURS["constructed"],
            linestyle=":",
            label=f"zeros of the construction at d = {row['width']}, N_x = N_y",
        )


def _products_panel(axes: Axes, sparsity: Frame, fraction: str) -> None:
    products = sparsity[sparsity["matrix"].isin(_PRODUCTS)]
    for (weights, product), rows in products.groupby(["weights", "matrix"], sort=False):
        name, line = _PRODUCTS[product]
        label = f"{name}, {weights}"
        axes.plot(
            rows["threshold"], 100 * rows[fraction], color=_COLOURS[weights], linestyle=line, label=label
        )


def _legends(figure: Figure, panels: Any) -> None:
    handles, labels = panels[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2)
    handles, labels = panels[1, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=2)
