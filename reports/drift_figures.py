"""How weights move: figures over checkpoints, by layer, and between every two checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import MATRIX_NAMES
from . import style
from .arm_style import model_title
from .checkpoint_axis import CheckpointAxis, checkpoint_axis
from .drift import accuracies_by_checkpoint, gaps_by_checkpoint
from .figure_text import short_name
from .heatmap import BAR_POINTS, add_colour_bar, draw_cells_between, height_of_rows
from .intervals import NULL_LINE, draw_band, spread_words
from .panels import beside_squares, finish, panels
from .ticks import name_layers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_BESIDE = 46.0
"""Points beside a panel that the names at its axis take."""


def drift_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the parameter gap over checkpoints, and accuracy in context below it (Shen et al. Figs. 3 and 9).

    Args:
        study: A study of drift.
        width: In inches.
    """
    tables = study.tables
    return gap_figure(
        tables["gaps"],
        tables["accuracy"],
        checkpoint_axis(tables["checkpoints"]),
        title=f"{_whose(study)}how far the weights move, over checkpoints",
        width=width,
    )


def _whose(study: Study) -> str:
    """Return the name of the model whose checkpoints they are, where it is one."""
    models = study.tables["checkpoints"]["model"].unique().tolist()
    return f"{model_title(str(models[0]))}: " if len(models) == 1 else ""


def gap_figure(
    gaps: Frame,
    accuracy: Frame,
    checkpoints: CheckpointAxis,
    *,
    title: str = "",
    width: float = style.TWO_COLUMNS,
) -> Figure:
    """Draw parameter gaps over checkpoints, and accuracies in context, if there are any, below them.

    Args:
        gaps: One row a checkpoint and checkpoint compared with.
        accuracy: One row a checkpoint, task and draw of demonstrations.
        checkpoints: Where they stand.
        title: What stands above.
        width: In inches.
    """
    with style.figure_style():
        made = panels(width, 2 if len(accuracy) else 1, height=2.0, most=1, sharex=True)
        first = made.axes[0]
        for against, colour in style.AGAINST_COLOURS.items():
            values = gaps_by_checkpoint(gaps, against)
            first.plot(checkpoints.places, values, "o-", color=colour, label=f"gap to the {against}")
        first.set(ylabel="parameter gap, mean |ΔW|", ylim=(0, None))
        if len(accuracy):
            draw_accuracies(made.axes[1], accuracy, checkpoints.places, chance=True)
        checkpoints.draw(made.axes[-1], "x", made.points - _BESIDE)
        checkpoints.leave_room(made.axes[-1])
        draws = accuracy["seed"].nunique() if len(accuracy) else 0
        finish(made.figure, title=title, intervals=spread_words(draws))
    return made.figure


def draw_accuracies(axes: Axes, accuracy: Frame, places: np.ndarray, *, chance: bool) -> None:
    """Draw accuracy in context at each checkpoint, one line a task, with its spread over draws.

    Args:
        axes: Where.
        accuracy: One row a checkpoint, task and draw of demonstrations.
        places: Where each checkpoint stands.
        chance: Whether the accuracy of guessing is drawn too.
    """
    colours = style.series_colours(accuracy["task"])
    highest = 100.0
    for task, rows in accuracy.groupby("task", sort=False):
        values = 100 * np.array(accuracies_by_checkpoint(accuracy, str(task)))
        middle, spread, colour = values.mean(axis=1), values.std(axis=1), colours[str(task)]
        highest = max(highest, float((middle + spread).max()))
        draw_band(axes, places, middle - spread, middle + spread, colour)
        axes.plot(places, middle, "o-", color=colour, label=short_name(str(task)))
        if chance:
            level = 100 * float(rows["chance"].iloc[0])
            label = f"null: chance, {short_name(str(task))}"
            axes.axhline(level, color=colour, linestyle=NULL_LINE, linewidth=1.1, label=label)
    axes.set(ylabel="ICL accuracy (%)", ylim=(min(0.0, axes.get_ylim()[0]), 1.04 * highest))


def layers_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw how far each matrix moved since the previous checkpoint, by layer.

    Args:
        study: A study of drift.
        width: In inches.
    """
    return layer_step_figure(
        study.tables["drift"],
        checkpoint_axis(study.tables["checkpoints"]),
        title=f"{_whose(study)}update since the previous checkpoint",
        width=width,
    )


def layer_step_figure(
    drift: Frame, checkpoints: CheckpointAxis, *, title: str = "", width: float = style.TWO_COLUMNS
) -> Figure:
    """Draw the relative Frobenius norm of each update by layer, one panel a matrix.

    A cell reaches from one checkpoint to the next.

    Args:
        drift: One row a layer, matrix, checkpoint and checkpoint compared with.
        checkpoints: Where they stand.
        title: What stands above.
        width: In inches.
    """
    updates = drift[drift["against"] == "previous"]
    layers = np.array(sorted(set(updates["layer"])))
    maps = {
        str(matrix): rows.pivot(index="layer", columns="place", values="relative_frobenius")
        for matrix, rows in updates.groupby("matrix", sort=False)
    }
    norms = updates["relative_frobenius"].to_numpy(dtype=float)
    high = float(np.nanmax(norms)) if np.isfinite(norms).any() else 1.0
    with style.figure_style():
        made = panels(width, len(maps), height=height_of_rows(len(layers)))
        rows = np.arange(len(layers) + 1) - 0.5
        image: Any = None
        for axes, table in zip(made.axes, maps.values(), strict=True):
            image = draw_cells_between(axes, table.to_numpy(dtype=float), checkpoints.places, rows, 0, high)
            checkpoints.draw(axes, "x", made.points - _BESIDE - BAR_POINTS / made.columns)
            name_layers(axes.yaxis, layers, range(len(layers)))
        for axes in made.left:
            axes.set_ylabel("layer")
        made.title([MATRIX_NAMES[matrix] for matrix in maps])
        add_colour_bar(made.figure, image, made.axes, "‖ΔW‖ / ‖W‖")
        notes = ["a cell reaches from one checkpoint to the next"]
        if not np.isfinite(norms).all():
            notes.append("hatched: undefined, for the earlier matrix is zero")
        finish(made.figure, title=title, notes=notes)
    return made.figure


def pairs_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the parameter gap between every two checkpoints.

    Args:
        study: A study of drift.
        width: In inches.
    """
    return pairwise_figure(
        study.tables["between"],
        checkpoint_axis(study.tables["checkpoints"]),
        title=f"{_whose(study)}gap between every two checkpoints",
        width=width,
    )


def pairwise_figure(
    between: Frame, checkpoints: CheckpointAxis, *, title: str = "", width: float = style.TWO_COLUMNS
) -> Figure:
    """Draw the mean of |ΔW| between every two checkpoints; a cell reaches halfway to the next ones.

    Args:
        between: One row a checkpoint and another one.
        checkpoints: Where they stand.
        title: What stands above.
        width: In inches.
    """
    values = between.pivot(index="place", columns="other_place", values="mean_absolute").to_numpy(dtype=float)
    high = float(np.nanmax(values)) or 1.0
    with style.figure_style():
        made = panels(width, 1, height=min(4.2, 0.85 * width))
        (axes,) = made.axes
        image = draw_cells_between(axes, values, checkpoints.edges, checkpoints.edges, 0, high)
        checkpoints.draw(axes, "x", made.points - _BESIDE - BAR_POINTS)
        checkpoints.draw(axes, "y", float(made.figure.get_size_inches()[1]) * 72 - _BESIDE)
        axes.set_box_aspect(1)
        add_colour_bar(made.figure, image, made.axes, "mean |ΔW|")
        note = "a cell reaches halfway to the next checkpoints"
        finish(made.figure, title=title, notes=[note], beside=beside_squares(made, BAR_POINTS))
    return made.figure
