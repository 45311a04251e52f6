"""Figures read back: their panels, texts, names at axes, data, and colours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np


def drawn_names(axis: Any) -> list[Any]:
    """Return the names of the ticks that are drawn: others lie beyond the ends of the axis."""
    labels = [label for tick in axis._update_ticks() for label in (tick.label1, tick.label2)]
    return [label for label in labels if label.get_visible() and label.get_text()]


def drawn_texts(figure: Any) -> list[Any]:
    """Return every text that is drawn."""
    from matplotlib.text import Text

    of_ticks = {
        id(label)
        for axes in every_axes(figure)
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
    }
    others = [text for text in figure.findobj(Text) if id(text) not in of_ticks]
    names = [
        label
        for axes in every_axes(figure)
        for axis in (axes.xaxis, axes.yaxis)
        for label in drawn_names(axis)
    ]
    return [text for text in (*others, *names) if text.get_visible() and text.get_text().strip()]


def every_axes(figure: Any) -> list[Any]:
    return [each for axes in figure.axes for each in (axes, *axes.child_axes)]


def overlapping(first: Any, second: Any, spare: float) -> bool:
    across = min(first.x1, second.x1) - max(first.x0, second.x0)
    up = min(first.y1, second.y1) - max(first.y0, second.y0)
    return across > spare and up > spare


def panels(figure: Any) -> list[Any]:
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def is_named(axis: Any) -> bool:
    """Return whether an axis has a title, or names at it that are words."""
    names = [label.get_text() for label in axis.get_ticklabels()]
    return bool(axis.get_label_text()) or any(re.search("[^\\W\\d]", text) for text in names)


def data_of(axes: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield x and y of everything that is drawn in a panel, as far as they are in its units."""
    from matplotlib.collections import Collection
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    def told(transform: Any, places: Any) -> tuple[np.ndarray, np.ndarray]:
        along = transform.contains_branch_seperately(axes.transData)
        places = np.ma.filled(np.ma.asarray(places, dtype=float), np.nan).reshape(-1, 2)
        x, y = (places[:, side] if there else np.zeros(0) for side, there in enumerate(along))
        return x[np.isfinite(x)], y[np.isfinite(y)]

    artist: Any
    for artist in axes.get_children():
        if isinstance(artist, Line2D) and artist.get_clip_on():
            yield told(artist.get_transform(), artist.get_xydata())
        elif isinstance(artist, Collection):
            paths = [path.vertices for path in artist.get_paths()]
            offsets = np.asarray(artist.get_offsets())
            if len(offsets) and artist.get_offset_transform().contains_branch(axes.transData):
                yield offsets[:, 0], offsets[:, 1]
            elif paths:
                yield told(artist.get_transform(), np.concatenate(paths))
        elif isinstance(artist, Rectangle) and artist is not axes.patch:
            left, bottom = artist.get_xy()
            corners = [[left, bottom], [left + artist.get_width(), bottom + artist.get_height()]]
            yield told(artist.get_data_transform(), np.array(corners))
    for image in axes.get_images():
        left, right, bottom, top = image.get_extent()
        yield np.array([left, right]), np.array([bottom, top])


def colour_of(handle: Any) -> str:
    from matplotlib.colors import to_hex

    while isinstance(handle, tuple | list):
        handle = handle[0]
    if hasattr(handle, "get_color"):
        return to_hex(handle.get_color())
    # Rings have an edge alone, and markers one colour for all of them.
    face, edge = (
        np.reshape(found, (-1, 4))[:1] for found in (handle.get_facecolor(), handle.get_edgecolor())
    )
    return to_hex((edge if not len(face) or to_hex(face[0]) == "#ffffff" else face)[0])


def counted_ends(axes: Any, side: int) -> tuple[float, float]:
    """Return the first and the last of what is counted along an axis."""
    from matplotlib.collections import QuadMesh

    if axes.get_images():
        extent = axes.get_images()[0].get_extent()[2 * side : 2 * side + 2]
        return min(extent) + 0.5, max(extent) - 0.5
    meshes = [artist for artist in axes.collections if isinstance(artist, QuadMesh)]
    if meshes:
        edges = np.asarray(meshes[0].get_coordinates())[..., side]
        inside = 0.5 if "layer" in (axes.get_xlabel(), axes.get_ylabel())[side] else 0.0
        return float(edges.min()) + inside, float(edges.max()) - inside
    if not axes.get_lines():
        middles = [bar.get_y() + bar.get_height() / 2 for bar in axes.patches]
        return min(middles), max(middles)
    lines = [
        line for line in axes.get_lines() if line.get_transform() == axes.transData and len(line.get_xdata())
    ]
    places = np.concatenate([np.asarray(line.get_xydata(), dtype=float)[:, side] for line in lines])
    # Lines of several recipes stand a little beside each other.
    return float(np.round(np.nanmin(places), 0)), float(np.round(np.nanmax(places), 0))
