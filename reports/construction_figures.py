"""The figures of a study of the construction: how it agrees with gradient descent, and the weights side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import style
from .construction import DESCENT, INTERPOLATED, LINE, TRAINED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

LEARNER_COLOURS = {TRAINED: "#0072b2", DESCENT: "#009e73", INTERPOLATED: "#e69f00"}
_OTHER, _NOTE, _LINE = style.OTHER_COLOUR, "#555555", "#333333"
# The trained layer lies on top of gradient descent: its marks are drawn hollow around the other's.
_MARKS: dict[str, dict[str, Any]] = {
    TRAINED: {"marker": "o", "markersize": 7, "markerfacecolor": "none", "linewidth": 0.8},
    DESCENT: {"marker": "o", "linestyle": "-"},
    INTERPOLATED: {"marker": "x", "linestyle": "--"},
}


def agreement_of(study: Study) -> Figure:
    """Draw how a study's trained layer agrees with gradient descent, see `agreement_figure`.

    Args:
        study: A study of the construction.
    """
    config, tables = study.config, study.tables
    title = (
        f"one layer of linear self-attention and one step of gradient descent (N_x = {config.n_x}, "
        f"N_y = {config.n_y}, N = {config.demonstrations}, η = {tables['construction']['step_size'].iloc[0]:.3g})"
    )
    return agreement_figure(
        tables["training"], tables["sweeps"], demonstrations=config.demonstrations, title=title
    )


def agreement_figure(training: Frame, sweeps: Frame, *, demonstrations: int, title: str = "") -> Figure:
    """Draw training, the line between the weight sets, and behaviour out of distribution.

    Von Oswald et al. 2023, Fig. 2, with numbers of demonstrations unlike training's added.

    Args:
        training: One row a comparison during training.
        sweeps: One row a learner and value of what is varied.
        demonstrations: N of training.
        title: What stands above.
    """
    varied = dict(iter(sweeps.groupby("varied", sort=False)))
    with style.figure_style():
        figure = style.new_figure(11.5, 6.6)
        panels = figure.subplots(2, 3)
        _differences_panel(panels[0, 0], training)
        _cosine_panel(panels[0, 1], training)
        _interpolation_panel(panels[0, 2], varied[LINE], training["loss"].iloc[0])
        _sweep_panel(panels[1, 0], varied["factor on x"], "larger and smaller inputs", at=1)
        _sweep_panel(panels[1, 1], varied["factor on W"], "larger and smaller W", at=1)
        counts = varied["demonstrations"]
        _sweep_panel(panels[1, 2], counts, "more and fewer demonstrations", at=demonstrations)
        panels[1, 2].set_xscale("log")
        _plain_ticks(panels[1, 2], dict.fromkeys(counts["value"]))
        figure.suptitle(title)
        figure.supxlabel(
            "grey line: as in training; interpolated: halfway between the two rescaled weight sets",
            fontsize=8,
            color=_NOTE,
        )
    return figure


def _differences_panel(axes: Axes, training: Frame) -> None:
    for name, column, colour in (
        ("predictions", "prediction_difference", "#0072b2"),
        ("sensitivities", "sensitivity_difference", "#d55e00"),
    ):
        axes.plot(training["step"], training[column], color=colour, label=name)
    axes.set_yscale("log")
    axes.set(title="difference from gradient descent", xlabel="training step", ylabel="mean L2 difference")
    axes.legend(loc="upper right")


def _cosine_panel(axes: Axes, training: Frame) -> None:
    cosines = training["sensitivity_cosine"].to_numpy()
    axes.plot(training["step"], cosines, color="#d55e00")
    axes.axhline(1, color=_LINE, linewidth=0.7, linestyle=":")
    axes.set(title="direction of the sensitivities", xlabel="training step", ylabel="mean cosine")
    axes.set_ylim(min(-0.05, cosines.min() - 0.05), 1.06)
    axes.annotate(
        f"{cosines[-1]:.5f}",
        (training["step"].iloc[-1], cosines[-1]),
        xytext=(-4, -12),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color="#d55e00",
    )


def _interpolation_panel(axes: Axes, line: Frame, before: float) -> None:
    interpolated = line[line["learner"] == INTERPOLATED]
    places, losses = interpolated["value"].to_numpy(), interpolated["loss"].to_numpy()
    axes.plot(places, losses, color=LEARNER_COLOURS[INTERPOLATED])
    for end, name in ((0, TRAINED), (-1, DESCENT)):
        axes.plot(places[end], losses[end], "o", markersize=6, color=LEARNER_COLOURS[name])
    axes.axhline(before, color=_LINE, linewidth=0.9, linestyle=":")
    axes.annotate(
        "before training", (0.5, before), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=8
    )
    axes.set(title="between the two weight sets", ylabel="loss", ylim=(0, 1.15 * max(before, losses.max())))
    axes.set_xticks([0, 0.5, 1], ["trained", "halfway", "constructed"])


def _sweep_panel(axes: Axes, sweep: Frame, title: str, at: float) -> None:
    axes.axvline(at, color="#bbbbbb", linewidth=1.2, zorder=0)
    for name, rows in sweep.groupby("learner", sort=False):
        marks = _MARKS.get(name, {"marker": "s", "linestyle": ":"})
        colour = LEARNER_COLOURS.get(name, _OTHER)
        axes.plot(rows["value"], rows["loss"], color=colour, label=name, **marks)
    axes.set_yscale("log")
    axes.set(title=title, xlabel=sweep["varied"].iloc[0], ylabel="loss")
    axes.legend(loc="upper left")


def _plain_ticks(axes: Axes, values: Iterable[float]) -> None:
    axes.set_xticks(list(values), [f"{value:g}" for value in values])
    axes.minorticks_off()


def products_of(study: Study) -> Figure:
    """Draw a study's rescaled products, see `products_figure`.

    Args:
        study: A study of the construction.
    """
    return products_figure(study.tables["products"], n_x=study.config.n_x)


def products_figure(products: Frame, *, n_x: int, title: str = "products of the weights, rescaled") -> Figure:
    """Draw the trained W_Kᵀ W_Q and P W_V beside the constructed ones, rescaled alike.

    Von Oswald et al. 2023 show the weights so: see `LinearSelfAttention.rescaled_products`.

    Args:
        products: One row an entry.
        n_x: N_x, where x ends and y begins.
        title: What stands above.
    """
    with style.figure_style():
        figure = style.new_figure(7.4, 7.0)
        panels = figure.subplots(2, 2)
        names = {"key_query": "W_Kᵀ W_Q", "projected_value": "P W_V"}
        for row, (product, name) in zip(panels, names.items(), strict=True):
            of_product = products[products["product"] == product]
            size = of_product["entry"].abs().max()
            image: Any = None
            for axes, (weights, entries) in zip(row, of_product.groupby("weights", sort=False), strict=True):
                matrix = entries.pivot(index="row", columns="column", values="entry").to_numpy()
                image = axes.imshow(
                    matrix, cmap=style.DIVERGING_COLOURS, vmin=-size, vmax=size, interpolation="nearest"
                )
                _mark_parts(axes, n_x, len(matrix))
                axes.set_title(f"{name}, {weights}")
            figure.colorbar(image, ax=list(row), label="entry", fraction=0.05, pad=0.02)
        figure.suptitle(title)
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
