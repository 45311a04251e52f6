"""What figures of lines by layer share: markers, axes, and what stands around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import style
from .figure_text import subject_title
from .intervals import spread_words
from .panels import finish
from .ticks import around, name_layers, room_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.study import Study

_MOST_MARKERS = 40


def layer_marker(count: int) -> str:
    """Return the marker of a line of so many layers: none where they would touch."""
    return "o" if count <= _MOST_MARKERS else ""


def lay_layer_axes(drawn: Sequence[Axes], numbers: Sequence[int], points: float) -> None:
    """Draw zero, and name the layers.

    Args:
        drawn: The axes.
        numbers: The layers, counted from 0, in order.
        points: Width of one of the axes, in points.
    """
    for axes in drawn:
        axes.axhline(0, color=style.INK, linewidth=0.7, zorder=1)
        axes.set(xlabel="layer", xlim=around(np.array(numbers)))
        name_layers(axes.xaxis, list(numbers), most=room_for(list(numbers), points))


def finish_layer_figure(study: Study, figure: Figure, what: str) -> None:
    """Put what the figure is of above it, and the draws and what intervals are of below.

    Args:
        study: A study with a table ``finetuning``, one row a draw.
        figure: The figure.
        what: What is drawn.
    """
    config, draws = study.config, study.tables["finetuning"]
    many = len(draws) > 1
    words = (
        spread_words(len(draws))
        if many
        else f"{100 * config.level:g}% interval over {draws['queries'].iloc[0]} queries"
    )
    note = f"mean over {len(draws)} draws of demonstrations" if many else "one draw of demonstrations"
    shots = f"{config.shots} shot{'s' * (config.shots > 1)}, {draws['source'].iloc[0]}"
    finish(figure, title=f"{subject_title(config)}, {shots}: {what}", notes=[note], intervals=words)
