"""In-context learning as a change of weights: the sheet, and the figures by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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

_LEAST, _FAR_BELOW = 1.6, -4.0
_SHARED_NULL = "with another query's"
_CLOSED = ("own", "shared", "mean", "other", "own, MLP alone", "shared, MLP alone")
NOTE = (
    "explained: share of the squared length of W Δa that is predicted for queries of the other half; shared is one "
    "ridge update for all, mean their mean, permuted a ridge fit to other queries' W Δa. closed: of the way from "
    "zero-shot to ICL in the label log-probabilities; own and shared with the skip path, unless in the MLP alone."
)


def implicit_update_sheet(study: Study) -> Sheet:
    """Return what is measured of the weights, mean over layers, and what is closed in each layer.

    Args:
        study: A study of implicit updates.
    """
    measures, layers = study.tables["measures"], study.tables["layers"]
    rows = [
        (f"{measure}, {condition}", _cells(found))
        for (measure, condition), found in measures.groupby(["measure", "condition"], sort=False)
    ]
    blocks = [Block("mean over layers", ("value", "null"), tuple(rows))]
    closed = layers[layers["measure"] == "closed"]
    if len(closed):
        by_layer = [
            (
                str(layer),
                tuple(_cells(found[found["condition"] == condition])[0] for condition in _CLOSED),
            )
            for layer, found in closed.groupby("layer")
        ]
        blocks.append(Block("closed, by layer", _CLOSED, tuple(by_layer)))
    draws = measures["seed"].nunique()
    found = [finding.sentence for finding in study.findings if finding.kind == "result"]
    return sheet_of(study, tuple(blocks), (*found, NOTE, *((spread_words(draws),) if draws > 1 else ())))


def _cells(found: Frame) -> tuple[Cell, ...]:
    values, null = found["value"], found["null"].mean()
    if len(found) > 1:
        told: Cell = (number(values.mean(), ".3f"), f"± {number(values.std(), '.3f')}")
    else:
        row = found.iloc[0]
        ends = () if row["low"] != row["low"] else (f"[{row['low']:.3f}, {row['high']:.3f}]",)
        told = (number(row["value"], ".3f"), *ends)
    return (told, (number(null, ".3f"),))


def implicit_update_figures(study: Study) -> dict[str, Any]:
    """Return what draws each picture of a study.

    Args:
        study: A study of implicit updates.
    """
    given = bool((study.tables["layers"]["measure"] == "closed").any())
    return {"updates": updates_figure, **({"closed": closed_figure} if given else {})}


def updates_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw by layer how different the updates are, what one for all explains, and how alike finetuning's they are.

    Args:
        study: A study of implicit updates.
        width: In inches.
    """
    layers = study.tables["layers"]
    with style.figure_style():
        made = panels(width, 4, height=2.1, least=_LEAST)
        first, second, third, fourth = made.axes
        _line(first, _rows(layers, "effective rank", "own"), "own")
        _null(first, _rows(layers, "effective rank", "own"), "as many as queries")
        for condition in ("shared", "mean", "permuted"):
            _line(second, _rows(layers, "explained", condition), condition)
        for axes, measure in ((third, "alignment of weights"), (fourth, "alignment of outputs")):
            _line(axes, _rows(layers, measure, "own"), "own")
            _null(axes, _rows(layers, measure, "own"), _SHARED_NULL)
        for axes, label in zip(made.axes, ("updates", "share explained", "cosine", "cosine"), strict=True):
            axes.set(ylabel=label)
        lay_layer_axes(made.axes, sorted(set(layers["layer"].tolist())), made.points)
        made.title(
            ["effective rank", "explained by one for all", "with finetuning, weights", "… and outputs"]
        )
        finish_layer_figure(study, made.figure, "implicit updates of MLPs")
    return made.figure


def closed_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw by layer how much of the way to ICL each update closes, with the skip path and in the MLP alone.

    Args:
        study: A study of implicit updates.
        width: In inches.
    """
    layers = study.tables["layers"]
    with style.figure_style():
        made = panels(width, 2, height=2.4)
        for axes, conditions in zip(made.axes, (_CLOSED[:4], _CLOSED[4:]), strict=True):
            for condition in conditions:
                rows = _rows(layers, "closed", condition)
                if len(rows):
                    _line(axes, rows, condition.removesuffix(", MLP alone"))
            axes.axhline(1, color=style.INK, linewidth=0.5, linestyle=":", zorder=1)
            axes.set(ylabel="closed")
        _scaled(made.axes)
        lay_layer_axes(made.axes, sorted(set(layers["layer"].tolist())), made.points)
        made.title(["with the skip path", "in the MLP alone"])
        finish_layer_figure(study, made.figure, "closed by implicit updates")
    return made.figure


def _scaled(drawn: Sequence[Axes]) -> None:
    """Give all one range, and let it be logarithmic below −1 where something is far worse than zero-shot."""
    low = min(axes.get_ylim()[0] for axes in drawn)
    high = max(axes.get_ylim()[1] for axes in drawn)
    for axes in drawn:
        if low < _FAR_BELOW:
            axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(low, high)


def _rows(layers: Frame, measure: str, condition: str) -> Frame:
    return layers[(layers["measure"] == measure) & (layers["condition"] == condition)]


def _line(axes: Axes, rows: Frame, label: str) -> None:
    """Draw one measure by layer: of one draw with its interval, else mean and deviation over draws."""
    by_layer = rows.groupby("layer")
    value = by_layer["value"].mean()
    if rows["seed"].nunique() == 1:
        low, high = by_layer["low"].mean(), by_layer["high"].mean()
    else:
        spread = by_layer["value"].std()
        low, high = value - spread, value + spread
    colour = style.IMPLICIT_COLOURS[label]
    places = value.index.to_numpy(dtype=int)
    draw_band(axes, places, low.to_numpy(dtype=float), high.to_numpy(dtype=float), colour)
    axes.plot(
        places, value.to_numpy(dtype=float), color=colour, marker=layer_marker(len(places)), label=label
    )


def _null(axes: Axes, rows: Frame, label: str) -> None:
    null = rows.groupby("layer")["null"].mean()
    places = null.index.to_numpy(dtype=int)
    looks = null_looks(
        color=style.NULL_COLOURS["permuted_pairs"], marker=layer_marker(len(places)), label=label
    )
    axes.plot(places, null.to_numpy(dtype=float), **looks)
