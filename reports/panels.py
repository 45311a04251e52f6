"""Panels of a figure: how many stand beside each other at its width, and what stands around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import style
from .figure_text import LINE, NOTE_SIZE, TITLE_SIZE, lines_of, note_lines, panel_title, title_lines
from .intervals import interval_handles
from .token_text import text_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In points. A legend's columns have room for a line, and for what separates them.
_HANDLE, _BETWEEN, _BESIDE, _GAP, _AROUND_TITLE = 20.5, 10.0, 12.0, 4.0, 44.0
_LINE_OF_LEGEND = 1.5
_STACKED = 0.85
"""How high panels are that stand in one column, so that many are not longer than a page."""


@dataclass(frozen=True)
class Panels:
    """Panels in lines.

    Attributes:
        figure: The figure, as high as its panels until `finish` makes room for what stands around.
        axes: The panels, in the order in which they are read.
        columns: How many stand beside each other.
    """

    figure: Figure
    axes: tuple[Axes, ...]
    columns: int

    @property
    def points(self) -> float:
        """About how many points a panel is wide, with what is written left of it."""
        return float(self.figure.get_size_inches()[0]) * 72 / self.columns

    @property
    def left(self) -> tuple[Axes, ...]:
        """The first panel of each line."""
        return self.axes[:: self.columns]

    @property
    def bottom(self) -> tuple[Axes, ...]:
        """The panels that have none below them."""
        return self.axes[-self.columns :]

    def title(self, titles: Sequence[str], beside: float = 0.0) -> None:
        """Write a title above each panel, in lines that are no longer than it is wide.

        Args:
            titles: One of each panel.
            beside: Points that names left of a panel take, besides those of numbers.
        """
        for axes, title in zip(self.axes, titles, strict=True):
            panel_title(axes, title, self.points - _AROUND_TITLE - beside)


def panels(
    width: float, count: int, *, height: float, least: float = 2.0, most: int = 4, **shared: Any
) -> Panels:
    """Return empty panels, as many beside each other as have room at this width.

    Args:
        width: Of the figure, in inches.
        count: How many panels.
        height: Of one panel with its title and its axis, in inches.
        least: How wide a panel has to be, in inches.
        most: How many stand beside each other at most.
        shared: ``sharex`` and ``sharey`` of matplotlib's subplots, and ``width_ratios``.

    Raises:
        UserError: If the width is no figure's.
    """
    style.check_width(width)
    columns = max(1, min(count, most, int(width / least)))
    rows = -(-count // columns)
    columns = -(-count // rows)
    stacked = _STACKED if columns == 1 and count > 2 else 1.0
    figure = style.new_figure(width, rows * height * stacked)
    grid = figure.subplots(rows, columns, squeeze=False, **shared).ravel().tolist()
    for axes in grid[count:]:
        axes.remove()
    made = Panels(figure, tuple(grid[:count]), columns)
    for axes in made.bottom:
        axes.tick_params(labelbottom=True)
    return made


def beside_squares(made: Panels, bar: float) -> float:
    """Return how many inches stay free at either side of square panels that stand in the middle of their figure.

    Args:
        made: Panels that are square, before anything stands around them.
        bar: Points that the colour bar right of them takes.
    """
    width, height = map(float, made.figure.get_size_inches())
    side = height / -(-len(made.axes) // made.columns)
    return max(0.0, width - made.columns * side - bar / 72) / 2


def finish(
    figure: Figure,
    *,
    title: str = "",
    notes: Sequence[str] = (),
    intervals: str = "",
    legend: bool = True,
    more: Sequence[Any] = (),
    beside: float = 0.0,
) -> None:
    """Write a title above the panels, one legend and notes below them, and make room for all of it.

    Args:
        figure: A figure as high as its panels.
        title: What it is about.
        notes: What a reader has to know besides.
        intervals: What bands and bars are, such as ``95% interval over 40 queries``; the legend says it where there
            are any.
        legend: Whether what the panels name is listed.
        more: Handles of the legend besides those of the panels.
        beside: Inches left free at either side of panels that are narrower than the figure.
    """
    width, height = (float(side) * 72 for side in figure.get_size_inches())
    heading, lines = title_lines(title, width / 72), note_lines([note for note in notes if note], width / 72)
    found: dict[str, Any] = {}
    for axes in figure.axes if legend else ():
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    for handle in (*more, *interval_handles(figure, intervals)):
        found.setdefault(str(handle.get_label()), handle)
    labels = ["\n".join(lines_of(label, width - _HANDLE - _BESIDE, style.LEGEND_SIZE)) for label in found]
    columns = _legend_columns(labels, width)
    listed = _legend_lines(labels, columns) * style.LEGEND_SIZE * _LINE_OF_LEGEND
    above = len(heading) * TITLE_SIZE * LINE + (2 * _GAP if heading else 0)
    noted = len(lines) * NOTE_SIZE * LINE + (_GAP if lines else 0)
    below = noted + listed + (_GAP if labels else 0)
    whole = height + above + below
    figure.set_size_inches(width / 72, whole / 72)
    engine: Any = figure.get_layout_engine()
    free = beside * 72 / width
    engine.set(rect=(free, below / whole, 1 - 2 * free, height / whole))
    if heading:
        figure.suptitle(
            "\n".join(heading), y=1 - _GAP / whole, va="top", fontsize=TITLE_SIZE, parse_math=False
        )
    if lines:
        figure.supxlabel(
            "\n".join(lines),
            y=2 / whole,
            va="bottom",
            fontsize=NOTE_SIZE,
            color=style.NOTE_INK,
            parse_math=False,
        )
    if labels:
        drawn = figure.legend(
            list(found.values()),
            labels,
            loc="lower center",
            bbox_to_anchor=(0.5, noted / whole),
            ncols=columns,
            borderaxespad=0,
            borderpad=0.2,
            handlelength=2.2,
            handletextpad=0.6,
            columnspacing=1.4,
            labelspacing=0.4,
        )
        drawn.set_in_layout(False)
        for text in drawn.get_texts():
            text.set_parse_math(False)


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """Return the largest number of columns of a legend that are no wider together than a figure."""
    wide = [
        max(text_points(line, style.LEGEND_SIZE) for line in label.split("\n")) + _HANDLE + _BETWEEN
        for label in labels
    ]
    for columns in range(min(6, len(labels)), 1, -1):
        if sum(max(column) for column in _by_column(wide, columns)) <= width - _BESIDE:
            return columns
    return 1


def _legend_lines(labels: Sequence[str], columns: int) -> int:
    heights = [label.count("\n") + 1 for label in labels]
    return max((sum(column) for column in _by_column(heights, columns)), default=0)


def _by_column(values: Sequence[Any], columns: int) -> list[Sequence[Any]]:
    """Return what a legend puts into each of its columns, of which the first ones are longer."""
    rows, longer = divmod(len(values), columns)
    found, start = [], 0
    for column in range(columns):
        stop = start + rows + (column < longer)
        found.append(values[start:stop])
        start = stop
    return [column for column in found if len(column)]
