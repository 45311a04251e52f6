"""One look for all figures, made without any global state: they show in a notebook and save to a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 150
ONE_COLUMN, TWO_COLUMNS = 3.3, 6.9
"""Inches that a figure takes in a paper of two columns, across one of them and across both."""
_PAPER_DOTS_PER_INCH = 300
_VECTOR_DOTS_PER_INCH = 600
_MOST_LAYOUTS = 10
# Without a date, and with names inside that are no random ones, the same figure is the same bytes.
_METADATA: Mapping[str, Mapping[str, None]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
_FILE_SETTINGS: Mapping[str, Any] = {"svg.hashsalt": "iclprobe", "pdf.fonttype": 42}

# Okabe and Ito's palette, which stays apart for colour-blind readers.
SETTING_COLOURS: Mapping[str, str] = {"zsl": "#6e6e6e", "icl": "#0072b2", "ft": "#d55e00"}
MEASURE_COLOURS: Mapping[str, str] = {
    "SimAOU": "#0072b2",
    "SimAOU, null gaussian": "#6e6e6e",
    "SimAOU, null permuted_pairs": "#e69f00",
    "SimAOU, null shared_baseline": "#cc79a7",
    "SimAOU partial": "#009e73",
    "SimAOU partial, null permuted_pairs": "#009e73",
    "SimAM before finetuning": "#6e6e6e",
    "SimAM after finetuning": "#d55e00",
    "SimAM of the changes (delta)": "#009e73",
    "SimAM of the changes (delta), null shared_baseline": "#009e73",
}
MATRIX_COLOURS: Mapping[str, str] = {
    "query": "#0072b2",
    "key": "#d55e00",
    "value": "#009e73",
    "output": "#cc79a7",
}
RECIPE_COLOURS: Mapping[str, str] = {
    "dai": "#d55e00",
    "barnatan_lcft": "#6a3d9a",
    "shen": "#8c510a",
    "shen_sgd": "#e69f00",
    "shen_adam": "#009e73",
    "shen_deep": "#cc79a7",
    "shen_middle": "#56b4e9",
}
OTHER_COLOUR = "#cc79a7"
DIVERGING_COLOURS = "RdBu_r"
UNDEFINED_FACE, UNDEFINED_HATCH = "#efefef", "#9a9a9a"

_SETTINGS: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.6,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Let whatever is drawn inside look alike; matplotlib's own settings come back afterwards."""
    from matplotlib import rc_context

    with rc_context(dict(_SETTINGS)):  # type: ignore[arg-type]
        yield


def recipe_colours(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each recipe: a preset always has its own, others take what is left, in their order."""
    names = list(names)
    free = [colour for name, colour in RECIPE_COLOURS.items() if name not in names] or [OTHER_COLOUR]
    others = [name for name in names if name not in RECIPE_COLOURS]
    taken = {name: free[place % len(free)] for place, name in enumerate(others)}
    return {name: RECIPE_COLOURS.get(name) or taken[name] for name in names}


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure that belongs to no window and that a notebook shows as a picture.

    Args:
        width: In inches.
        height: In inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _figure_class()(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def paper_figure(width: float, height: float) -> Figure:
    """Return an empty figure that is saved at exactly this size, for a column of a paper.

    Args:
        width: In inches, such as `ONE_COLUMN` or `TWO_COLUMNS`.
        height: In inches.
    """
    figure = new_figure(width, height)
    figure.set_dpi(_PAPER_DOTS_PER_INCH)
    figure.cropped = False  # type: ignore[attr-defined]
    return figure


def png_bytes(figure: Figure) -> bytes:
    """Return a figure as a PNG picture."""
    return picture_bytes(figure, "png")


def picture_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as a picture, without a date or random names in it.

    Args:
        figure: The figure.
        kind: ``png``, ``svg`` or ``pdf``. Colours of a heatmap are pixels in all three, lines and letters are not.
    """
    return pictures_bytes(figure, (kind,))[kind]


def pictures_bytes(
    figure: Figure, kinds: Iterable[str], dots_per_inch: int = _VECTOR_DOTS_PER_INCH
) -> dict[str, bytes]:
    """Return a figure as pictures of several kinds, laid out once for all of them.

    Args:
        figure: The figure.
        kinds: As of `picture_bytes`.
        dots_per_inch: Of the pixels in an SVG or PDF.
    """
    from matplotlib import rc_context

    cropped = getattr(figure, "cropped", True)
    # The layout does not make room for tick labels left of a legend that it centres: cut to what was drawn.
    cut = {"bbox_inches": "tight", "pad_inches": 0.12} if cropped else {}
    engine = figure.get_layout_engine()
    found: dict[str, bytes] = {}
    with rc_context(dict(_FILE_SETTINGS)), nullcontext() if cropped else _settled(figure):  # type: ignore[arg-type]
        for kind in kinds:
            buffer = BytesIO()
            figure.savefig(
                buffer,
                format=kind,
                dpi=figure.dpi if kind == "png" else dots_per_inch,
                facecolor="white",
                metadata=dict(_METADATA[kind]),
                **cut,
            )
            found[kind] = buffer.getvalue()
            figure.set_layout_engine("none")
    figure.set_layout_engine(engine)
    return found


@contextmanager
def _settled(figure: Figure) -> Iterator[None]:
    """Lay a figure out until nothing moves any more, and let nothing move while it is written.

    A layout begins where the last one ended and depends on the resolution, so that every file would differ a little.
    """
    engine = figure.get_layout_engine()
    places: list[tuple[float, ...]] = []
    for _ in range(_MOST_LAYOUTS):
        before = places
        figure.draw_without_rendering()
        places = [tuple(round(side, 9) for side in axes.get_position().bounds) for axes in figure.axes]
        if places == before:
            break
    figure.set_layout_engine("none")
    try:
        yield
    finally:
        figure.set_layout_engine(engine)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file of type PNG, SVG or PDF, as the end of its name says.

    Raises:
        UserError: If the name ends otherwise.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in _METADATA:
        raise UserError(
            f"a figure is saved as PNG, SVG or PDF: end the name {shown(path)} in .png, .svg or .pdf"
        )
    Path(path).write_bytes(picture_bytes(figure, kind))


@cache
def _figure_class() -> type[Figure]:
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        """A figure that notebooks show without a plotting backend."""

        cropped = True
        """Whether files of it are cut to what was drawn."""

        def _repr_png_(self) -> bytes:
            return png_bytes(self)

    return NotebookFigure
