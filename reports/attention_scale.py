"""The colours of attention: one scale for all panels of a figure, and its colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import style
from .attention_rows import AttentionRows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = {"scores": "attention score (pre-softmax)", "pattern": "attention pattern"}
_DIFFERENCE_LABELS = {"scores": "difference of scores", "pattern": "difference of patterns"}
_COLOURS = "viridis"
_SHARES, _FEWEST_TICKS = (0.0, 0.02, 0.1, 0.3, 0.6, 1.0), 3
_ROUNDED_UP = 1 + 1e-6


@dataclass(frozen=True)
class Scale:
    """The numbers of the first and the last colour.

    Attributes:
        low: The number of the first colour.
        high: The number of the last colour.
        colours: A colour map of matplotlib's.
        label: What the colours mean.
        square_root: Whether colours go by the square root of a number, which sets small ones apart.
    """

    low: float
    high: float
    colours: str
    label: str
    square_root: bool = False

    def norm(self) -> Any:
        """Return what makes colours of numbers."""
        from matplotlib.colors import Normalize, PowerNorm

        return PowerNorm(0.5, self.low, self.high) if self.square_root else Normalize(self.low, self.high)

    def ticks(self) -> list[float]:
        """Return what is written at the colour bar: round shares with room between them, or nothing in particular."""
        ticks = [share for share in _SHARES if share <= self.high * _ROUNDED_UP] if self.square_root else []
        return ticks if len(ticks) >= _FEWEST_TICKS else []


def scale_of(rows: AttentionRows, values: np.ndarray | None = None) -> Scale:
    """Return the scale of everything that is drawn of these rows.

    A pattern begins at 0, and its colours go by the square root: a few tokens take nearly all of it, and the rest
    would have one colour. Scores begin at the smallest. A difference has limits that are the same on both sides of
    0, where its diverging colours have their middle.

    Args:
        rows: What the figure draws, all of its panels.
        values: What is drawn of them, where that is not all of it, in any shape.
    """
    drawn = rows.drawn() if values is None else values
    drawn = drawn[np.isfinite(drawn)]
    label = _LABELS[rows.kind]
    if rows.minus:
        most = float(np.abs(drawn).max(initial=rows.limit)) or 1.0
        return Scale(-most, most, style.DIVERGING_COLOURS, _DIFFERENCE_LABELS[rows.kind])
    if rows.kind == "pattern":
        most = float(drawn.max(initial=0.0)) or 1.0
        return Scale(0.0, most, _COLOURS, label, square_root=True)
    if not len(drawn):
        return Scale(0.0, 1.0, _COLOURS, label)
    return Scale(float(drawn.min()), float(drawn.max()), _COLOURS, label)


def colour_bar(figure: Figure, image: Any, panels: Sequence[Axes], scale: Scale, *, below: bool) -> Axes:
    """Draw the colour bar of some panels, and return its axes.

    Args:
        figure: Where to draw.
        image: Any image of this scale.
        panels: All that share it.
        scale: Its label is written beside it.
        below: Below the panels, as in a narrow figure; otherwise right of them.
    """
    from matplotlib.ticker import MaxNLocator

    bar = figure.colorbar(
        image,
        ax=list(panels),
        location="bottom" if below else "right",
        fraction=0.05,
        pad=0.02,
        aspect=40 if below else 30,
        shrink=0.8 if below else 1.0,
        ticks=scale.ticks() or MaxNLocator(5),
        format="%g" if scale.ticks() else None,
    )
    bar.set_label(scale.label, fontsize=7)
    bar.ax.tick_params(labelsize=6, length=2)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return bar.ax
