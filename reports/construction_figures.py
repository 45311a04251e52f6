"""The figures of a study of the construction: how it agrees with gradient descent, and the weights side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import style
from .construction import DESCENT, INTERPOLATED, LINE, TRAINED
from .heatmap import add_colour_bar
from .intervals import NULL_LINE
from .panels import finish, panels
from .ticks import around, name_layers, scale_by_size, thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_SWEPT = ("factor on x", "factor on W", "demonstrations")
_TITLES = (
    *("difference from gradient descent", "direction of the sensitivities", "between the two weight sets"),
    *("larger and smaller inputs", "larger and smaller W", "more and fewer demonstrations"),
)
# The trained layer lies on top of gradient descent: its marks are drawn hollow around the other's.
_MARKS: dict[str, dict[str, Any]] = {
    TRAINED: {"marker": "o", "markersize": 6, "markerfacecolor": "none", "linewidth": 0.8},
    DESCENT: {"marker": "o", "linestyle": "-"},
    INTERPOLATED: {"marker": "x", "linestyle": "--"},
}


def agreement_of(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw how the trained layer agrees with gradient descent, in training and out of distribution.

    Args:
        study: A study of the construction.
        width: In inches.
    """
    config, tables = study.config, study.tables
    title = (
        f"one layer of linear self-attention and one step of gradient descent (N_x = {config.n_x}, "
        f"N_y = {config.n_y}, N = {config.demonstrations}, η = {tables['construction']['step_size'].iloc[0]:.3g})"
    )
    return agreement_figure(
        tables["training"], tables["sweeps"], demonstrations=config.demonstrations, title=title, width=width
    )


def agreement_figure(
    training: Frame,
    sweeps: Frame,
    *,
    demonstrations: int,
    title: str = "",
    width: float = style.TWO_COLUMNS,
) -> Figure:
    """Draw training, the line between the weight sets, and behaviour out of distribution.

    Von Oswald et al. 2023, Fig. 2, with numbers of demonstrations unlike training's added.

    Args:
        training: One row a comparison during training.
        sweeps: One row a learner and value of what is varied.
        demonstrations: N of training.
        title: What stands above.
        width: In inches.
    """
    varied = dict(iter(sweeps.groupby("varied", sort=False)))
    with style.figure_style():
        made = panels(width, len(_TITLES), height=2.1, most=3)
        _differences_panel(made.axes[0], training)
        _cosine_panel(made.axes[1], training)
        _interpolation_panel(made.axes[2], varied[LINE], training["loss"].iloc[0])
        for axes, name, at in zip(made.axes[3:], _SWEPT, (1, 1, demonstrations), strict=True):
            _sweep_panel(axes, varied[name], at)
        made.title(_TITLES)
        finish(
            made.figure,
            title=title,
            notes=["grey line: as in training; interpolated: halfway between the two rescaled weight sets"],
        )
    return made.figure


def _differences_panel(axes: Axes, training: Frame) -> None:
    colours = style.series_colours(("predictions", "sensitivities"))
    _name_steps(axes, training)
    for name, column in (
        ("predictions", "prediction_difference"),
        ("sensitivities", "sensitivity_difference"),
    ):
        axes.plot(training["step"], training[column], color=colours[name], label=f"difference of {name}")
    both = training[["prediction_difference", "sensitivity_difference"]].to_numpy(dtype=float)
    axes.set(xlabel="training step", ylabel=f"mean L2 norm{scale_by_size(axes, 'y', both, most=5)}")


def _cosine_panel(axes: Axes, training: Frame) -> None:
    cosines = training["sensitivity_cosine"].to_numpy(dtype=float)
    _name_steps(axes, training)
    axes.plot(
        training["step"],
        cosines,
        color=style.series_colours(("predictions", "sensitivities"))["sensitivities"],
    )
    axes.axhline(1, color=style.INK, linewidth=0.7, linestyle=":")
    low = min(-0.05, float(np.nanmin(cosines)) - 0.05)
    axes.set(xlabel="training step", ylabel="mean cosine", ylim=(low, 1.06))


def _name_steps(axes: Axes, training: Frame) -> None:
    steps = training["step"].to_numpy(dtype=int)
    name_layers(axes.xaxis, steps, most=4)
    axes.set_xlim(around(steps))


def _interpolation_panel(axes: Axes, line: Frame, before: float) -> None:
    interpolated = line[line["learner"] == INTERPOLATED]
    places, losses = interpolated["value"].to_numpy(), interpolated["loss"].to_numpy(dtype=float)
    axes.plot(places, losses, color=style.WEIGHT_COLOURS[INTERPOLATED])
    for end, name in ((0, TRAINED), (-1, DESCENT)):
        axes.plot(places[end], losses[end], "o", markersize=5, color=style.WEIGHT_COLOURS[name])
    axes.axhline(before, color=style.UNREMARKABLE, linestyle=NULL_LINE, label="null: loss before training")
    axes.set(ylabel="loss", ylim=(0, 1.12 * max(before, float(losses.max()))), xlabel="weights")
    axes.set_xticks([0, 0.5, 1], ["trained", "halfway", "constructed"])


def _sweep_panel(axes: Axes, sweep: Frame, at: float) -> None:
    axes.axvline(at, color="#bbbbbb", linewidth=1.2, zorder=0)
    for name, rows in sweep.groupby("learner", sort=False):
        marks = _MARKS.get(str(name), {"marker": "s", "linestyle": ":"})
        colour = style.WEIGHT_COLOURS.get(str(name), style.NULL_COLOURS["shared_baseline"])
        axes.plot(rows["value"], rows["loss"], color=colour, label=name, **marks)
    said = scale_by_size(axes, "y", sweep["loss"].to_numpy(dtype=float), most=5)
    axes.set(xlabel=sweep["varied"].iloc[0], ylabel=f"loss{said}")
    values = sorted(set(sweep["value"].tolist()))
    if values[-1] >= 10 * values[0] > 0:
        axes.set_xscale("log")
    kept = [values[place] for place in thinned(len(values), 6)]
    axes.set_xticks(kept, [f"{value:.3g}" for value in kept])
    axes.minorticks_off()


def products_of(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the products of the trained and the constructed weights, rescaled.

    Args:
        study: A study of the construction.
        width: In inches.
    """
    return products_figure(study.tables["products"], n_x=study.config.n_x, width=width)


def products_figure(
    products: Frame,
    *,
    n_x: int,
    title: str = "products of the weights, rescaled",
    width: float = style.TWO_COLUMNS,
) -> Figure:
    """Draw the trained W_Kᵀ W_Q and P W_V beside the constructed ones, rescaled alike.

    Von Oswald et al. 2023 show the weights so: see `LinearSelfAttention.rescaled_products`.

    Args:
        products: One row an entry.
        n_x: N_x, where x ends and y begins.
        title: What stands above.
        width: In inches.
    """
    names = {"key_query": "W_Kᵀ W_Q", "projected_value": "P W_V"}
    with style.figure_style():
        made = panels(width, 2 * len(names), height=0.36 * width + 0.35, least=1.5, most=2)
        titles = []
        for place, (product, name) in enumerate(names.items()):
            of_product = products[products["product"] == product]
            size = of_product["entry"].abs().max()
            row = made.axes[2 * place : 2 * place + 2]
            image: Any = None
            for axes, (weights, entries) in zip(row, of_product.groupby("weights", sort=False), strict=True):
                matrix = entries.pivot(index="row", columns="column", values="entry").to_numpy()
                image = axes.imshow(
                    matrix, cmap=style.DIVERGING_COLOURS, vmin=-size, vmax=size, interpolation="nearest"
                )
                _mark_parts(axes, n_x, len(matrix))
                titles.append(f"{name}, {weights}")
            add_colour_bar(made.figure, image, row, "entry")
        made.title(titles)
        finish(
            made.figure,
            title=title,
            notes=[
                "the y columns of W_Kᵀ W_Q and the x rows of P W_V reach no prediction: they keep their first draw"
            ],
        )
    return made.figure


def _mark_parts(axes: Axes, n_x: int, width: int) -> None:
    """Separate the entries of x from those of y, and name them."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    for draw in (axes.axhline, axes.axvline):
        draw(n_x - 0.5, color=style.INK, linewidth=0.7)
    middles = [(n_x - 1) / 2, (n_x + width - 1) / 2]
    axes.set_xticks(middles, ["x", "y"])
    axes.set_yticks(middles, ["x", "y"])
    axes.tick_params(length=0)
    axes.set(xlabel="column", ylabel="row")
