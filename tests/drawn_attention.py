"""Attention figures read back: cells, names, brackets and lines, and whether names can be read."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from iclprobe.reports import style

WIDTHS = pytest.mark.parametrize("width", [style.ONE_COLUMN, style.TWO_COLUMNS])
AWKWARD = (" $x$", " 中文", "\n\n", "", " ", "        ", "\u200b", "_{", " extraordinarily-long-tokens", "😀")


def panels(figure: Any) -> list[Any]:
    return [axes for axes in figure.axes if axes.get_images()]


def drawn(axes: Any) -> np.ma.MaskedArray:
    return np.ma.asarray(axes.get_images()[0].get_array())


def ticks(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def lines(axes: Any, which: str) -> list[float]:
    """Return where lines separate demonstrations, each drawn twice."""
    at = [
        line.get_xdata()[0] if which == "columns" else line.get_ydata()[0]
        for line in axes.get_lines()
        if (line.get_xdata()[0] == line.get_xdata()[1]) == (which == "columns")
        and not line.get_label().startswith("_bracket")
    ]
    assert at[::2] == at[1::2]
    return at[::2]


def brackets(axes: Any, which: str) -> list[tuple[float, float]]:
    """Return the first and the last cell under each bracket."""
    along = [
        line.get_xdata() if which == "columns" else line.get_ydata()
        for line in axes.get_lines()
        if line.get_label() == f"_bracket {which}"
    ]
    return [(round(start), round(stop)) for start, stop in along]


def boxes_inside(figure: Any) -> None:
    """Fail where anything is drawn outside the picture, since a paper's figure is not cut to what was drawn."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    assert box.x0 >= -0.01 and box.y0 >= -0.01
    assert box.x1 <= figure.get_figwidth() + 0.01 and box.y1 <= figure.get_figheight() + 0.01


def labels_apart(axis: Any) -> None:
    """Fail where two names at an axis touch, or are too small to be read."""
    labels = [label for label in axis.get_ticklabels() if label.get_text()]
    assert all(label.get_fontsize() >= 5 for label in labels)
    size = [label.get_fontsize() * label.figure.dpi / 72 for label in labels]
    across = axis.axes.xaxis is axis
    places = sorted(
        float(axis.axes.transData.transform((at, at))[0 if across else 1]) for at in axis.get_ticklocs()
    )
    assert all(after - before >= 0.98 * max(size) for before, after in pairwise(places))
