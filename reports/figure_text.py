"""Lines of text around a figure's panels, as long as it is wide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .token_text import font_draws, legible, text_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOTE_SIZE, TITLE_SIZE = 6.0, 8.0
PANEL_TITLE_SIZE = 7.5
LINE = 1.35
"""Height of a line in font sizes."""
_MARGINS, _LONGEST_NAME = 10.0, 26


def subject_title(config: Any) -> str:
    """Return what a figure is about, in short: the model's own name with its revision, and the task, if there is one.

    Args:
        config: Of a study. Of several models, which panels name, there is the task alone.
    """
    name, task = config.model.rstrip("/").rsplit("/", 1)[-1], getattr(config, "task", "")
    model = (
        ""
        if getattr(config, "models", ())
        else name
        if config.revision is None
        else f"{name}@{config.revision}"
    )
    return " on ".join(part for part in (model, task) if part)


def note_lines(notes: Sequence[str], width: float) -> list[str]:
    """Return notes as lines that fit below a figure of this width in inches."""
    return lines_of("; ".join(notes), width * 72 - _MARGINS, NOTE_SIZE)


def title_lines(title: str, width: float) -> list[str]:
    """Return a title as lines that fit above a figure of this width in inches."""
    return lines_of(title, width * 72 - _MARGINS, TITLE_SIZE)


def write_around(figure: Figure, title: Sequence[str], notes: Sequence[str]) -> None:
    """Write the lines of a title above a figure and those of its notes below."""
    if title:
        figure.suptitle("\n".join(title), fontsize=TITLE_SIZE, parse_math=False)
    if notes:
        figure.supxlabel("\n".join(notes), fontsize=NOTE_SIZE, color="#555555", parse_math=False)


def panel_title(axes: Axes, title: str, points: float) -> None:
    """Write a panel's title, in as many lines as it needs where the panel is so many points wide."""
    lines = lines_of(title, points, PANEL_TITLE_SIZE)
    axes.set_title("\n".join(lines), fontsize=PANEL_TITLE_SIZE, pad=4, parse_math=False)


def short_name(name: str, most: int = _LONGEST_NAME) -> str:
    """Return a name that fits at an axis, its middle left out where it is long; tables have all of it."""
    if len(name) <= most:
        return name
    end = most // 3
    return f"{name[: most - end - 1]}…{name[-end:]}"


def lines_of(text: str, room: float, size: float) -> list[str]:
    """Return a text as lines of words that are no longer than so many points; longer words are divided."""
    lines: list[str] = []
    for word in legible(" ".join(text.split()), font_draws).split(" ") if text.split() else []:
        if lines and text_points(f"{lines[-1]} {word}", size) <= room:
            lines[-1] += f" {word}"
            continue
        while text_points(word, size) > room:
            fits = next(
                end for end in range(len(word), 0, -1) if end == 1 or text_points(word[:end], size) <= room
            )
            lines.append(word[:fits])
            word = word[fits:]
        lines.append(word)
    return lines
