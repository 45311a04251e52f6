"""The figures of a study of the construction: how it agrees with gradient descent, and the weights side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..analyses.construction.sweeps import DESCENT, INTERPOLATED, TRAINED, Sweep
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..analyses.construction.study import ConstructionStudy

LEARNER_COLOURS = {TRAINED: "#0072b2", DESCENT: "#009e73", INTERPOLATED: "#e69f00"}
_OTHER, _NOTE, _LINE = style.OTHER_COLOUR, "#555555", "#333333"
# The trained layer lies on top of gradient descent: its marks are drawn hollow around the other's.
_MARKS: dict[str, dict[str, Any]] = {
    TRAINED: {"marker": "o", "markersize": 7, "markerfacecolor": "none", "linewidth": 0.8},
    DESCENT: {"marker": "o", "linestyle": "-"},
    INTERPOLATED: {"marker": "x", "linestyle": "--"},
}


def agreement_figure(study: ConstructionStudy) -> Figure:
    """Draw training, the line between the weight sets, and behaviour out of distribution.

    Von Oswald et al. 2023, Fig. 2, with numbers of demonstrations unlike training's added.

    Args:
        study: The study.
    """
    with style.figure_style():
        figure = style.new_figure(11.5, 6.6)
        panels = figure.subplots(2, 3)
        _differences_panel(panels[0, 0], study)
        _cosine_panel(panels[0, 1], study)
        _interpolation_panel(panels[0, 2], study)
        _sweep_panel(panels[1, 0], study.input_scales, "larger and smaller inputs", training=1)
        _sweep_panel(panels[1, 1], study.weight_scales, "larger and smaller W", training=1)
        _sweep_panel(
            panels[1, 2],
            study.demonstration_counts,
            "more and fewer demonstrations",
            training=study.config.demonstrations,
        )
        panels[1, 2].set_xscale("log")
        _plain_ticks(panels[1, 2], study.demonstration_counts.values)
        figure.suptitle(_title(study))
        figure.supxlabel(
            "grey line: as in training; interpolated: halfway between the two rescaled weight sets",
            fontsize=8,
            color=_NOTE,
        )
    return figure


def _title(study: ConstructionStudy) -> str:
    config = study.config
    return (
        f"one layer of linear self-attention and one step of gradient descent (N_x = {config.n_x}, "
        f"N_y = {config.n_y}, N = {config.demonstrations}, η = {study.step_size:.3g})"
    )


def _differences_panel(axes: Axes, study: ConstructionStudy) -> None:
    training = study.training
    for name, colour, values in (
        ("predictions", "#0072b2", [point.prediction_difference for point in training.agreements]),
        ("sensitivities", "#d55e00", [point.sensitivity_difference for point in training.agreements]),
    ):
        axes.plot(training.steps, values, color=colour, label=name)
    axes.set_yscale("log")
    axes.set(title="difference from gradient descent", xlabel="training step", ylabel="mean L2 difference")
    axes.legend(loc="upper right")


def _cosine_panel(axes: Axes, study: ConstructionStudy) -> None:
    training = study.training
    cosines = [point.sensitivity_cosine for point in training.agreements]
    axes.plot(training.steps, cosines, color="#d55e00")
    axes.axhline(1, color=_LINE, linewidth=0.7, linestyle=":")
    axes.set(title="direction of the sensitivities", xlabel="training step", ylabel="mean cosine")
    axes.set_ylim(min(-0.05, min(cosines) - 0.05), 1.06)
    axes.annotate(
        f"{cosines[-1]:.5f}",
        (training.steps[-1], cosines[-1]),
        xytext=(-4, -12),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color="#d55e00",
    )


def _interpolation_panel(axes: Axes, study: ConstructionStudy) -> None:
    sweep = study.interpolation
    losses = _numbers(sweep.losses[INTERPOLATED])
    before = float(study.training.losses[0])
    axes.plot(sweep.values, losses, color=LEARNER_COLOURS[INTERPOLATED])
    for place, name in ((0, TRAINED), (-1, DESCENT)):
        axes.plot(sweep.values[place], losses[place], "o", markersize=6, color=LEARNER_COLOURS[name])
    axes.axhline(before, color=_LINE, linewidth=0.9, linestyle=":")
    axes.annotate(
        "before training", (0.5, before), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=8
    )
    axes.set(title="between the two weight sets", ylabel="loss", ylim=(0, 1.15 * max(before, losses.max())))
    axes.set_xticks([0, 0.5, 1], ["trained", "halfway", "constructed"])


def _sweep_panel(axes: Axes, sweep: Sweep, title: str, training: float) -> None:
    axes.axvline(training, color="#bbbbbb", linewidth=1.2, zorder=0)
    for name, losses in sweep.losses.items():
        marks = _MARKS.get(name, {"marker": "s", "linestyle": ":"})
        colour = LEARNER_COLOURS.get(name, _OTHER)
        axes.plot(sweep.values, _numbers(losses), color=colour, label=name, **marks)
    axes.set_yscale("log")
    axes.set(title=title, xlabel=sweep.varied, ylabel="loss")
    axes.legend(loc="upper left")


def _plain_ticks(axes: Axes, values: tuple[float, ...]) -> None:
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()


def products_figure(study: ConstructionStudy) -> Figure:
    """Draw the trained W_Kᵀ W_Q and P W_V beside the constructed ones, rescaled alike.

    Von Oswald et al. 2023 show the weights so: see `LinearSelfAttention.rescaled_products`.

    Args:
        study: The study.
    """
    layers = {"trained": study.trained, "constructed": study.construction}
    products = {name: layer.rescaled_products() for name, layer in layers.items()}
    with style.figure_style():
        figure = style.new_figure(7.4, 7.0)
        panels = figure.subplots(2, 2)
        for row, name in enumerate(("W_Kᵀ W_Q", "P W_V")):
            matrices = {kind: _numbers(pair[row]) for kind, pair in products.items()}
            size = max(float(np.abs(matrix).max()) for matrix in matrices.values())
            image: Any = None
            for axes, (kind, matrix) in zip(panels[row], matrices.items(), strict=True):
                image = axes.imshow(
                    matrix, cmap=style.DIVERGING_COLOURS, vmin=-size, vmax=size, interpolation="nearest"
                )
                _mark_parts(axes, study.config.n_x, len(matrix))
                axes.set_title(f"{name}, {kind}")
            figure.colorbar(image, ax=list(panels[row]), label="entry", fraction=0.05, pad=0.02)
        figure.suptitle("products of the weights, rescaled")
        figure.supxlabel(
            "The y columns of W_Kᵀ W_Q and the x rows of P W_V reach no prediction: they keep their first draw.",
            fontsize=8,
            color=_NOTE,
        )
    return figure


def _mark_parts(axes: Axes, n_x: int, width: int) -> None:
    """Separate the entries of x from those of y, and name them."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    for draw in (axes.axhline, axes.axvline):
        draw(n_x - 0.5, color=_LINE, linewidth=0.7)
    middles = [(n_x - 1) / 2, (n_x + width - 1) / 2]
    axes.set_xticks(middles, ["x", "y"])
    axes.set_yticks(middles, ["x", "y"])
    axes.tick_params(length=0)


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()
