"""Direct and inherited parts of the updates of attention outputs: the sheet, and the figures by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..study.names import null_name
from ..study.sheet import Block, Cell, Sheet, sheet_of
from . import style
from .intervals import draw_band, null_looks, spread_words
from .layer_lines import finish_layer_figure, lay_layer_axes, layer_marker
from .numbers import number
from .panels import panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_LEAST = 1.6
_SHARES = {"icl": "ICL's update", "ft": "finetuning's update"}
_PAIRS = ("direct", "inherited", "direct with inherited", "inherited with direct")
NOTE = (
    "share: signed share of the update, <part, update> / |update|^2; those of one update sum to 1. length: "
    "relative to the update's. similarity: cosine of ICL's part with finetuning's. contribution: what a pair of "
    "parts adds to SimAOU; the four sum to it."
)


def parts_sheet(study: Study) -> Sheet:
    """Return shares, lengths and similarities, mean over layers, one row a measure and part.

    Args:
        study: A study of parts.
    """
    measures = study.tables["measures"]
    blocks = []
    for name, columns in (("share", False), ("length", False), ("similarity", True), ("contribution", False)):
        rows = measures[measures["measure"] == name]
        made = [
            (_row_name(setting, part), _cells(found, nulls=columns))
            for (setting, part), found in rows.groupby(["setting", "part"], sort=False)
        ]
        headings = (name, *(map(null_name, ("permuted_pairs", "shared_baseline")) if columns else ()))
        blocks.append(Block(f"{name}, mean over layers", headings, tuple(made)))
    draws = measures["seed"].nunique()
    found = [finding.sentence for finding in study.findings if finding.kind == "result"]
    spread = () if draws == 1 else (spread_words(draws),)
    return sheet_of(study, tuple(blocks), (*found, NOTE, *spread))


def _row_name(setting: Any, part: Any) -> str:
    return str(part) if setting == "both" else f"{_SHARES[str(setting)]}, {part}"


def _cells(found: Frame, *, nulls: bool) -> tuple[Cell, ...]:
    values = found["value"]
    if len(found) == 1:
        row = found.iloc[0]
        told: Cell = (
            number(row["value"], ".3f"),
            f"[{number(row['low'], '.3f')}, {number(row['high'], '.3f')}]",
        )
    else:
        told = (number(values.mean(), ".3f"), f"± {number(values.std(), '.3f')}")
    beside = ("permuted_pairs", "shared_baseline") if nulls else ()
    return (told, *((number(found[name].mean(), ".3f"),) for name in beside))


def parts_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw by layer the shares of both updates' parts, and the similarity of like parts beside nulls.

    Args:
        study: A study of parts.
        width: In inches.
    """
    layers = study.tables["layers"]
    numbers = sorted(set(layers["layer"].tolist()))
    with style.figure_style():
        made = panels(width, 4, height=2.1, least=_LEAST)
        for axes, setting in zip(made.axes[:2], _SHARES, strict=True):
            for part in ("direct", "inherited"):
                _line(axes, _rows(layers, "share", setting, part), part, style.UPDATE_PART_COLOURS[part])
            axes.axhline(1, color=style.INK, linewidth=0.5, linestyle=":", zorder=1)
            axes.set(ylabel="signed share of the update")
        low = min(axes.get_ylim()[0] for axes in made.axes[:2])
        high = max(axes.get_ylim()[1] for axes in made.axes[:2])
        for axes in made.axes[:2]:
            axes.set_ylim(low, high)
        for axes, part in zip(made.axes[2:], ("direct", "inherited"), strict=True):
            rows = _rows(layers, "similarity", "both", part)
            _line(axes, rows, part, style.UPDATE_PART_COLOURS[part])
            for null in ("permuted_pairs", "shared_baseline"):
                by_layer = rows.groupby("layer")[null].mean()
                axes.plot(
                    by_layer.index.to_numpy(dtype=int),
                    by_layer.to_numpy(dtype=float),
                    **null_looks(
                        color=style.NULL_COLOURS[null],
                        label=null_name(null),
                        marker=layer_marker(len(by_layer)),
                    ),
                )
            axes.set(ylabel="cosine")
        lay_layer_axes(made.axes, numbers, made.points)
        made.title([*_SHARES.values(), "direct with direct", "inherited with inherited"])
        finish_layer_figure(study, made.figure, "direct and inherited parts")
    return made.figure


def contributions_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw by layer what each pair of parts adds to SimAOU, and SimAOU itself.

    Args:
        study: A study of parts.
        width: In inches.
    """
    layers = study.tables["layers"]
    numbers = sorted(set(layers["layer"].tolist()))
    with style.figure_style():
        made = panels(width, 1, height=2.4)
        (axes,) = made.axes
        for part in _PAIRS:
            label = f"{part} with {part}" if part in ("direct", "inherited") else part
            _line(axes, _rows(layers, "contribution", "both", part), label, style.UPDATE_PART_COLOURS[part])
        _line(axes, _rows(layers, "similarity", "both", "total"), "SimAOU", style.MEASURE_COLOURS["SimAOU"])
        axes.set(ylabel="contribution to SimAOU (cosine)")
        lay_layer_axes(made.axes, numbers, made.points)
        finish_layer_figure(study, made.figure, "SimAOU by pairs of parts, of ICL with of finetuning")
    return made.figure


def _rows(layers: Frame, measure: str, setting: str, part: str) -> Frame:
    return layers[(layers["measure"] == measure) & (layers["setting"] == setting) & (layers["part"] == part)]


def _line(axes: Axes, rows: Frame, label: str, colour: str) -> None:
    """Draw one measure by layer: of one draw with its interval, else mean and deviation over draws."""
    by_layer = rows.groupby("layer")
    value = by_layer["value"].mean()
    if rows["seed"].nunique() == 1:
        low, high = by_layer["low"].mean(), by_layer["high"].mean()
    else:
        spread = by_layer["value"].std()
        low, high = value - spread, value + spread
    places = value.index.to_numpy(dtype=int)
    draw_band(axes, places, low.to_numpy(dtype=float), high.to_numpy(dtype=float), colour)
    axes.plot(places, value.to_numpy(dtype=float), color=colour, marker=layer_marker(len(value)), label=label)
