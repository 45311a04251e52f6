"""One figure of sparsity: the construction, a layer trained for ICL, a model pretrained on text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..analyses.construction.sparsity import THRESHOLDS, SparsityCurve, SparsityCurves
from . import style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"constructed": "#009e73", "trained for ICL": "#0072b2", "pretrained on text": "#d55e00"}
_MATRICES = {"query": "W_Q", "key": "W_K", "value": "W_V"}
_PRODUCTS = {"key_query": ("W_Kᵀ W_Q", "-"), "projected_value": ("P W_V", "--")}


def construction_sparsity_figure(sparsity: SparsityCurves) -> Figure:
    """Draw the fraction of entries below δ against δ, one column a matrix (Shen et al. §3.2 and Fig. 2).

    The upper row takes δ as it is, the lower one in standard deviations of each matrix. The last column has the
    rescaled products of the constructed and the trained layer.

    Args:
        sparsity: The curves.
    """
    with style.figure_style():
        figure = style.new_figure(12.0, 6.2)
        panels = figure.subplots(2, 4, sharey=True)
        for row, relative in enumerate((False, True)):
            for axes, matrix in zip(panels[row], _MATRICES, strict=False):
                _matrix_panel(axes, sparsity, matrix, relative)
            _products_panel(panels[row, -1], sparsity, relative)
            panels[row, 0].set_ylabel("entries with |w| < δ (%)")
            for axes in panels[row]:
                axes.set_xscale("log")
                axes.set(xlabel="δ in standard deviations" if relative else "δ", ylim=(-3, 106))
        for axes, title in zip(panels[0], [*_MATRICES.values(), "products, rescaled"], strict=True):
            axes.set_title(title)
        _legends(figure, panels)
        figure.suptitle("sparsity of attention weights: " + ", ".join(sparsity.kinds))
    return figure


def _matrix_panel(axes: Axes, sparsity: SparsityCurves, matrix: str, relative: bool) -> None:
    model = sparsity.pretrained
    for kind, curves in sparsity.kinds.items():
        if matrix not in curves:
            continue
        whose = f"d = {sparsity.width}"
        if model is not None and curves is model.curves:
            whose = f"{model.model.rstrip('/').rsplit('/', 1)[-1]}, d = {model.width}, mean over layers"
        axes.plot(
            THRESHOLDS, _percent(curves[matrix], relative), color=_COLOURS[kind], label=f"{kind} ({whose})"
        )
    if model is not None:
        axes.axhline(
            100 * model.constructed_zeros[matrix],
            color=_COLOURS["constructed"],
            linestyle=":",
            label=f"zeros of the construction at d = {model.width}, N_x = N_y",
        )


def _products_panel(axes: Axes, sparsity: SparsityCurves, relative: bool) -> None:
    for kind, curves in sparsity.kinds.items():
        for product, (name, line) in _PRODUCTS.items():
            if product in curves:
                axes.plot(
                    THRESHOLDS,
                    _percent(curves[product], relative),
                    color=_COLOURS[kind],
                    linestyle=line,
                    label=f"{name}, {kind}",
                )


def _legends(figure: Figure, panels: Any) -> None:
    handles, labels = panels[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2)
    handles, labels = panels[1, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=2)


def _percent(curve: SparsityCurve, relative: bool) -> np.ndarray:
    return 100 * (curve.relative if relative else curve.absolute).numpy()
