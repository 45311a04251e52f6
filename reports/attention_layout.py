"""How much room an attention figure has for cells, in points, and how high it becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .attention_axes import CELL_POINTS, token_size
from .attention_cells import FEWEST_CELLS
from .attention_folding import folded_to_fit
from .attention_rows import AttentionRows
from .figure_text import NOTE_SIZE, TITLE_SIZE
from .token_text import font_draws, printable, text_points

MOST_CELLS = 60
"""Cells of an axis of which a reader still finds one."""
_BAR_RIGHT, _BAR_BELOW = 50.0, 42.0
_LABEL_AND_MARGINS = 26.0
_SHORTEST_BAR_RIGHT = 150.0


def is_narrow(width: float) -> bool:
    """Return whether a figure of so many inches has its colour bar below, so that cells have room."""
    return width < 5


def bar_below(width: float, height: float) -> bool:
    """Return whether the colour bar of panels so many points high stands below them."""
    return is_narrow(width) or height < _SHORTEST_BAR_RIGHT


def points_across(width: float, names: Sequence[str], beside: float, *, below: bool) -> float:
    """Return how many points a panel is wide.

    Args:
        width: Of the figure, in inches.
        names: What is written left of the panel.
        beside: Points that are taken right of it, without a colour bar.
        below: Whether the colour bar stands below.
    """
    taken = longest_points(names, token_size(CELL_POINTS)) + beside + _LABEL_AND_MARGINS
    return width * 72 - taken - (0 if below else _BAR_RIGHT)


def longest_points(names: Sequence[str], size: float) -> float:
    """Return how many points the longest of some tokens is long, as it is written."""
    return max(text_points(printable(name, font_draws), size) for name in names)


def folded_to_room(rows: AttentionRows, room: Callable[[AttentionRows], float]) -> AttentionRows:
    """Fold rows and columns as little as it takes for every column to be named.

    Args:
        rows: Not folded.
        room: How many points the panel is wide, which names of folded rows take less from.
    """
    most = MOST_CELLS
    while True:
        folded = folded_to_fit(rows, most, most)
        columns = len(folded.column_tokens)
        if columns <= max(FEWEST_CELLS, room(folded) // CELL_POINTS):
            return folded
        most = min(most, columns) - 1


def height_of(panel: float, beside: float, *, titles: int, notes: int, below: bool) -> float:
    """Return the height of a figure in inches.

    Args:
        panel: Points that the panels are high.
        beside: Points above and below them: brackets, tokens, names of axes.
        titles: Lines of its title.
        notes: Lines of its notes.
        below: Whether the colour bar stands below.
    """
    lines = 1.35 * (titles * TITLE_SIZE + notes * NOTE_SIZE)
    return (panel + beside + lines + (_BAR_BELOW if below else 0) + _LABEL_AND_MARGINS) / 72
