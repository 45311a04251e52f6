"""Heatmaps by layer: numbers as colours, undefined ones hatched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import style
from .ticks import name_layers, room_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR_POINTS = 58.0
"""What a colour bar takes with its numbers and its name."""
_LOWEST, _HIGHEST, _ROW = 1.5, 6.0, 0.13
_LONG, _SHORTEST, _LONGEST = 11.0, 18.0, 60.0
"""How many times as long as wide a colour bar is, by inches of the figure."""


def draw_heatmap(
    axes: Axes,
    values: np.ndarray,
    low: float | None,
    high: float | None,
    colours: str = style.RISING_COLOURS,
) -> Any:
    """Draw a table of numbers as colours, its first row at the bottom; undefined cells are hatched.

    Args:
        axes: Where to draw.
        values: ``[rows, columns]``.
        low: The number of the first colour; None is the smallest.
        high: The number of the last colour; None is the largest.
        colours: A colour map of matplotlib's.

    Returns:
        The image, for a colour bar.
    """
    _ground(axes)
    return axes.imshow(
        np.ma.masked_invalid(values),
        origin="lower",
        aspect="auto",
        cmap=colours,
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )


def draw_cells_between(
    axes: Axes, values: np.ndarray, across: np.ndarray, up: np.ndarray, low: float, high: float
) -> Any:
    """Draw a table of numbers as colours, in cells that are as wide and high as what they stand for.

    Args:
        axes: Where to draw.
        values: ``[rows, columns]``.
        across: Where each column begins and the last one ends, ``[columns + 1]``.
        up: The same of rows.
        low: The number of the first colour.
        high: The number of the last colour.

    Returns:
        The cells, for a colour bar.
    """
    _ground(axes)
    # As pixels, for between areas that touch a renderer shows a seam.
    return axes.pcolormesh(
        across,
        up,
        np.ma.masked_invalid(values),
        cmap=style.RISING_COLOURS,
        vmin=low,
        vmax=high,
        rasterized=True,
    )


def _ground(axes: Axes) -> None:
    axes.patch.set(facecolor=style.UNDEFINED_FACE, edgecolor=style.UNDEFINED_HATCH, hatch="////")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def name_cells(axes: Axes, layers: np.ndarray, columns: Sequence[int] | np.ndarray, points: float) -> None:
    """Name the rows of a heatmap after their layers, and its columns by their numbers.

    Args:
        axes: A panel with a heatmap.
        layers: Numbers of its rows.
        columns: Numbers of its columns.
        points: About how many points it is wide.
    """
    name_layers(axes.yaxis, layers, range(len(layers)))
    name_layers(axes.xaxis, columns, range(len(columns)), most=room_for(columns, points))


def height_of_rows(rows: int) -> float:
    """Return how many inches a heatmap of so many rows is high, with its title and its axis."""
    return 0.65 + min(_HIGHEST, max(_LOWEST, _ROW * rows))


def add_colour_bar_below(
    figure: Figure, image: Any, axes: Axes, label: str, ticks: Sequence[float] | None = None
) -> None:
    """Draw the colour bar of one panel below it.

    Args:
        figure: Where to draw.
        image: Its image.
        axes: The panel.
        label: What the colours mean, with the unit.
        ticks: Numbers that are named; None is a few.
    """
    from matplotlib.ticker import MaxNLocator

    bar = figure.colorbar(
        image,
        ax=axes,
        location="bottom",
        label=label,
        fraction=0.04,
        pad=0.02,
        aspect=20,
        ticks=MaxNLocator(3) if ticks is None else list(ticks),
    )
    bar.outline.set_visible(False)  # type: ignore[operator]


def add_colour_bar(figure: Figure, image: Any, panels: Sequence[Axes], label: str) -> None:
    """Draw the colour bar of some panels right of them.

    Args:
        figure: Where to draw.
        image: Any image of this scale.
        panels: All that share it.
        label: What the colours mean, with the unit.
    """
    aspect = float(np.clip(_LONG * figure.get_size_inches()[1], _SHORTEST, _LONGEST))
    bar = figure.colorbar(image, ax=list(panels), label=label, fraction=0.06, pad=0.02, aspect=aspect)
    bar.outline.set_visible(False)  # type: ignore[operator]
