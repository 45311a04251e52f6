"""Which pictures a study has, a line each, and how one of them is drawn."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import UserError, shown
from .analysis import there
from .names import SETTING_NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .study import Study


class FigureKinds(dict[str, str]):
    """What each picture of a study shows, by its kind; printed, a line each.

    Args:
        drawers: What draws each picture, or its place, by its kind.
    """

    def __init__(self, drawers: Mapping[str, Any]) -> None:
        """Read the lines off what draws."""
        super().__init__({kind: _line(there(draw)) for kind, draw in drawers.items()})

    def __repr__(self) -> str:
        """Return a line for each kind."""
        longest = max(map(len, self), default=0)
        return "\n".join(f"{kind:{longest}}  {line}".rstrip() for kind, line in self.items()) or "none"


class NoSuchFigure(KeyError):
    """A kind of figure that a study does not have; the message names those that it has."""

    def __init__(self, kind: str | None, analysis: str, kinds: FigureKinds) -> None:
        """Say which kind was asked for, and what there is."""
        asked = "no figure" if kind is None else f"no figure {shown(kind)}"
        super().__init__(
            f"{asked} of {analysis}: there are\n{kinds!r}" if kinds else f"{asked} of {analysis}"
        )

    def __str__(self) -> str:
        """Return the message as it is: a KeyError quotes it."""
        return str(self.args[0])


def draw_figure(draw: Any, study: Study, width: float | None) -> Figure:
    """Draw a study's picture.

    Args:
        draw: What draws it, or its place.
        study: The study.
        width: In inches; None is its own width.

    Raises:
        UserError: If there is a width and it has one of its own.
    """
    draw = there(draw)
    if width is None:
        return draw(study)
    if "width" not in inspect.signature(draw).parameters:
        raise UserError("this figure is drawn at one width: leave width out")
    return draw(study, width=width)


def _line(draw: Any) -> str:
    """Return the first line of what a drawer says of itself, with what it is told besides the study."""
    told = draw.keywords if isinstance(draw, partial) else {}
    said = inspect.getdoc(draw.func if isinstance(draw, partial) else draw) or ""
    words = ", ".join(_word(name, value) for name, value in told.items() if value is not None)
    line = said.split("\n")[0].rstrip(".")
    return f"{line} ({words})" if words else line


def _word(name: str, value: Any) -> str:
    value = SETTING_NAMES.get(value, value)
    return f"layer {value}" if name == "layer" else str(value)
