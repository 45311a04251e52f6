"""What a figure shows, as data: every artist's numbers and texts."""

from __future__ import annotations

from typing import Any

import numpy as np


def drawn_data(figure: Any) -> list[Any]:
    """Return the data of every line, picture, collection, patch and text of a figure, in order."""
    from matplotlib.collections import Collection
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.text import Text

    found: list[Any] = []
    for artist in figure.findobj():
        if isinstance(artist, Line2D):
            found.append(("line", np.asarray(artist.get_xydata(), dtype=float)))
        elif isinstance(artist, AxesImage):
            found.append(("image", np.ma.filled(np.ma.asarray(artist.get_array(), dtype=float), np.nan)))
        elif isinstance(artist, Collection):
            found += [("path", path.vertices) for path in artist.get_paths()]
            found.append(("offsets", np.ma.filled(np.ma.asarray(artist.get_offsets(), dtype=float), np.nan)))
        elif isinstance(artist, Patch):
            found.append(("patch", artist.get_path().vertices))
        elif isinstance(artist, Text):
            found.append(("text", artist.get_text()))
    return found


def assert_drawn_alike(one: Any, other: Any) -> None:
    """Assert that two figures show the same data in every artist."""
    first, second = drawn_data(one), drawn_data(other)
    assert [kind for kind, _ in first] == [kind for kind, _ in second]
    for (kind, value), (_, twin) in zip(first, second, strict=True):
        if kind == "text":
            assert value == twin
        else:
            np.testing.assert_array_equal(value, twin)
