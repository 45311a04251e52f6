"""One look for all figures, made without any global state: they show in a notebook and save to a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, shown
from ..study.names import (
    ALONG,
    ARM_NAMES,
    FINETUNED_MODEL,
    GAUSSIAN_ALONG,
    GAUSSIAN_FT,
    GAUSSIAN_ICL,
    MATRIX_NAMES,
    MEAN_FT,
    MEAN_ICL,
    NO_UPDATE,
    OWN_FT,
    OWN_ICL,
    PERMUTED_ICL,
    REMAINDER,
    SETTING_NAMES,
    null_name,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 150
ONE_COLUMN, TWO_COLUMNS = 3.3, 6.9
"""Inches that a figure takes in a paper of two columns, across one of them and across both."""
_WIDTHS = 2.5, 20.0
LEGEND_SIZE = 7.0
_PAPER_DOTS_PER_INCH = 300
_VECTOR_DOTS_PER_INCH = 600
# Without a date, and with names inside that are no random ones, the same figure is the same bytes.
_METADATA: Mapping[str, Mapping[str, None]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
_FILE_SETTINGS: Mapping[str, Any] = {
    "svg.hashsalt": "iclprobe",
    "pdf.fonttype": 42,
    # A figure without a layout engine gets none while it is written.
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
}

# Okabe and Ito's palette, which stays apart for colour-blind readers, and two more for recipes.
_BLACK, _GREY, _LIGHT = "#333333", "#6e6e6e", "#9a9a9a"
_BLUE, _VERMILLION, _GREEN, _PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
_ORANGE, _SKY, _PURPLE, _BROWN = "#e69f00", "#56b4e9", "#6a3d9a", "#8c510a"
SETTING_COLOURS: Mapping[str, str] = {"zsl": _GREY, "icl": _BLUE, "ft": _VERMILLION}
RECIPE_COLOURS: Mapping[str, str] = {
    "dai": _VERMILLION,
    "barnatan_lcft": _PURPLE,
    "shen": _BROWN,
    "shen_sgd": _ORANGE,
    "shen_adam": _GREEN,
    "shen_deep": _PINK,
    "shen_middle": _SKY,
}
MATRIX_COLOURS: Mapping[str, str] = {
    "query": _BLUE,
    "key": _VERMILLION,
    "value": _GREEN,
    "output": _PINK,
}
NULL_COLOURS: Mapping[str, str] = {
    "gaussian": _LIGHT,
    "permuted_pairs": _ORANGE,
    "shared_baseline": _PINK,
}
MEASURE_COLOURS: Mapping[str, str] = {
    "SimAOU": _BLUE,
    "SimAOU partial": _GREEN,
    "SimAM before finetuning": SETTING_COLOURS["zsl"],
    "SimAM after finetuning": SETTING_COLOURS["ft"],
    "SimAM of the changes (delta)": _PURPLE,
}
WEIGHT_COLOURS: Mapping[str, str] = {
    "constructed": _BLACK,
    "trained for ICL": _BLUE,
    "pretrained on text": _VERMILLION,
    "trained layer": _BLUE,
    "gradient descent": _GREEN,
    "interpolated": _ORANGE,
}
UPDATE_COLOURS: Mapping[str, str] = {
    OWN_ICL: _BLUE,
    MEAN_ICL: _SKY,
    PERMUTED_ICL: _ORANGE,
    GAUSSIAN_ICL: _LIGHT,
    OWN_FT: _VERMILLION,
    MEAN_FT: _BROWN,
    GAUSSIAN_FT: _LIGHT,
    ALONG: _PURPLE,
    REMAINDER: _GREEN,
    GAUSSIAN_ALONG: _LIGHT,
    FINETUNED_MODEL: _VERMILLION,
    NO_UPDATE: _GREY,
}
VERDICT_COLOURS: Mapping[str, str] = {"holds": _GREEN, "fails": _VERMILLION, "undecided": _GREY}
AGAINST_COLOURS: Mapping[str, str] = {"previous": _GREY, "first": _PURPLE, "last": _BROWN}
PART_COLOURS: Mapping[str, str] = {
    "begin": "#bbbbbb",
    "inputs": _SKY,
    "labels": _VERMILLION,
    "separators": "#f0e442",
    "query": _GREEN,
    "rest": "#e5e5e5",
}
UPDATE_PART_COLOURS: Mapping[str, str] = {
    "direct": _VERMILLION,
    "inherited": _PURPLE,
    "direct with inherited": _GREEN,
    "inherited with direct": _BROWN,
}
IMPLICIT_COLOURS: Mapping[str, str] = {
    "own": _BLUE,
    "shared": _VERMILLION,
    "mean": _GREEN,
    "other": _BROWN,
    "permuted": _LIGHT,
}
NAMED_COLOURS: Mapping[str, str] = {
    **{SETTING_NAMES[setting]: colour for setting, colour in SETTING_COLOURS.items()},
    **RECIPE_COLOURS,
    **{ARM_NAMES[recipe]: colour for recipe, colour in RECIPE_COLOURS.items() if recipe in ARM_NAMES},
    **{MATRIX_NAMES[matrix]: colour for matrix, colour in MATRIX_COLOURS.items()},
    **{null_name(kind): colour for kind, colour in NULL_COLOURS.items()},
    **MEASURE_COLOURS,
    **WEIGHT_COLOURS,
    **UPDATE_COLOURS,
}
"""Every name that a legend or a tick may have, with its one colour."""
_OTHERS = ("#7f6fb0", "#a0a000", "#1a7f7f", "#b07aa1", "#5a5a00", "#884455")
_SERIES = (_BLUE, _VERMILLION, _GREEN, _PINK, _ORANGE, _SKY)
INK, NOTE_INK, UNREMARKABLE = _BLACK, "#555555", _GREY
DIVERGING_COLOURS, RISING_COLOURS = "RdBu_r", "viridis"
UNDEFINED_FACE, UNDEFINED_HATCH = "#efefef", "#9a9a9a"

_SETTINGS: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": LEGEND_SIZE,
    "legend.frameon": False,
    "figure.titlesize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.2,
    "hatch.linewidth": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Let whatever is drawn inside look alike; matplotlib's own settings come back afterwards."""
    from matplotlib import rc_context

    with rc_context(dict(_SETTINGS)):  # type: ignore[arg-type]
        yield


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name: its own of `NAMED_COLOURS`, or one by its place among those without.

    Args:
        names: Recipes, arms, settings, matrices or nulls; of ``SGD, batch 4`` the arm is ``SGD``.
    """
    bases = {name: name.rsplit(", batch ", 1)[0] for name in names}
    others = list(dict.fromkeys(base for base in bases.values() if base not in NAMED_COLOURS))
    return {
        name: NAMED_COLOURS.get(base) or _OTHERS[others.index(base) % len(_OTHERS)]
        for name, base in bases.items()
    }


def series_colours(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each of some things that have no colour of their own, such as tasks, by their order."""
    return {name: _SERIES[place % len(_SERIES)] for place, name in enumerate(dict.fromkeys(names))}


def ordered_colours(count: int) -> list[str]:
    """Return colours of numbers in order, such as learning rates or thresholds, from dark to light."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["plasma"](place / max(1, count - 1) * 0.75 + 0.05)) for place in range(count)]


def check_width(width: float) -> None:
    """Refuse a width at which nothing could be read.

    Raises:
        UserError: If it is not between 2.5 and 20 inches.
    """
    narrowest, widest = _WIDTHS
    if not narrowest <= width <= widest:
        raise UserError(
            f"a figure is {narrowest:g} to {widest:g} inches wide, not {shown(width)}: a paper's column has "
            f"{ONE_COLUMN:g}, two have {TWO_COLUMNS:g}"
        )


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
    """Return an empty figure of the resolution that a paper is printed with.

    Args:
        width: In inches, such as `ONE_COLUMN` or `TWO_COLUMNS`.
        height: In inches.
    """
    figure = new_figure(width, height)
    figure.set_dpi(_PAPER_DOTS_PER_INCH)
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

    found: dict[str, bytes] = {}
    with rc_context(dict(_FILE_SETTINGS)), _laid_out(figure):  # type: ignore[arg-type]
        for kind in kinds:
            buffer = BytesIO()
            figure.savefig(
                buffer,
                format=kind,
                dpi=figure.dpi if kind == "png" else dots_per_inch,
                facecolor="white",
                metadata=dict(_METADATA[kind]),
            )
            found[kind] = buffer.getvalue()
    return found


@contextmanager
def _laid_out(figure: Figure) -> Iterator[None]:
    """Lay a figure out, let nothing move while it is written, and put everything back where it was.

    A layout begins where the last one ended and depends on the resolution, so that every file would differ a little.
    """
    engine = figure.get_layout_engine()
    before = [(axes, axes.get_position(original=True), axes.get_position()) for axes in figure.axes]
    if engine is not None and figure.axes:
        engine.execute(figure)
    # Without any engine, matplotlib does not draw once more before it writes.
    figure.set_layout_engine(None)
    try:
        yield
    finally:
        figure.set_layout_engine(engine)
        for axes, original, active in before:
            laid_out = axes.get_in_layout()
            axes.set_position(original, which="original")
            axes.set_position(active, which="active")
            # Whoever sets a position by hand takes the axes out of the layout.
            axes.set_in_layout(laid_out)


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

        def _repr_png_(self) -> bytes:
            return png_bytes(self)

    return NotebookFigure
