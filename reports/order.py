"""Order sensitivity: the sheet, and the figures by arm beside in-context learning and over epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import ICL
from ..study.series import Series, series_of
from ..study.sheet import Block, Cell, Sheet, sheet_of
from . import style
from .arm_style import (
    arm_and_rate,
    draw_level,
    draw_series,
    line_style,
    model_title,
    name_epochs,
    reach,
    spread,
    spread_note,
    spread_of,
)
from .figure_text import short_name, subject_title
from .intervals import LEVEL_LINE, draw_points
from .panels import finish, panels
from .ticks import scale_by_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_NAMES = 62.0
"""Points that names of arms take left of a panel, where it has a line of its own."""
_HEADINGS = ("learning rate", "epochs", "Sen", "most over epochs", "accuracy %", "over vocabulary %")
_WORDS = {
    "sum_std": "standard deviation of each token's probability over orders, summed over tokens",
    "sum_var": "variance of each token's probability over orders, summed over tokens",
    "mean_std": "standard deviation of each token's probability over orders, mean over tokens",
    "l2": "Euclidean norm of the standard deviations of the tokens' probabilities over orders",
}


def order_sheet(study: Study) -> Sheet:
    """Return one row an arm and learning rate, a block a model.

    Args:
        study: A study of order sensitivity.
    """
    measures = ("sensitivity", "accuracy_labels", "accuracy_vocabulary")
    grouped = list(zip(*(series_of(study.tables["rows"], measure) for measure in measures), strict=True))
    models = tuple(dict.fromkeys(entry[0].model for entry in grouped))
    blocks = tuple(
        Block(
            model if len(models) > 1 else "arm",
            _HEADINGS,
            tuple((entry[0].arm, _cells(*entry)) for entry in grouped if entry[0].model == model),
        )
        for model in models
    )
    config = study.config
    kind = "population" if config.ddof == 0 else "sample"
    tokens = "" if config.top_k is None else f" of the {config.top_k} most probable tokens"
    notes = (
        f"Sen: {_WORDS[config.aggregate]}{tokens} ({config.aggregate}, {kind} spread), mean over queries",
        spread_note(
            len(config.seeds), [entry[0] for entry in grouped], "Sen and accuracy after the last epoch"
        ),
    )
    return sheet_of(study, blocks, notes)


def _cells(values: Series, labels: Series, vocabulary: Series) -> tuple[Cell, ...]:
    in_context = values.arm == ICL
    return (
        (values.rate_name,),
        ("–" if in_context else str(values.epochs[-1]),),
        spread(values.values[:, -1]),
        ("–",) if in_context else spread(values.most),
        spread(labels.values[:, -1], ".1f", 100),
        spread(vocabulary.values[:, -1], ".1f", 100),
    )


def order_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the sensitivity of every arm after its last epoch beside in-context learning (Shen et al. Fig. 4).

    Args:
        study: A study of order sensitivity.
        width: In inches.
    """
    rows = study.tables["rows"]
    title = (
        f"{subject_title(study.config)}: the same {rows['orders'].iloc[0]} orders in context and finetuned"
    )
    return sensitivity_figure(rows, title=title, width=width)


def order_epochs_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw sensitivity over epochs, one panel an arm and one line a learning rate (Shen et al. Figs. 6–8).

    Args:
        study: A study of order sensitivity.
        width: In inches.
    """
    title = f"{subject_title(study.config)}: order sensitivity over epochs, by learning rate"
    return epochs_figure(study.tables["rows"], title=title, width=width)


def sensitivity_figure(rows: Frame, *, title: str = "", width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the sensitivity of every arm after its last epoch, the most over epochs, and accuracy beside it.

    Args:
        rows: One row a model, draw, arm, drawn layer, learning rate and epoch.
        title: What stands above.
        width: In inches.
    """
    sensitivity, accuracy = series_of(rows, "sensitivity"), series_of(rows, "accuracy_labels")
    models = tuple(dict.fromkeys(entry.model for entry in sensitivity))
    wide = width > 1.5 * style.ONE_COLUMN
    most = max(sum(entry.model == model for entry in sensitivity) for model in models)
    with style.figure_style():
        made = panels(width, 2 * len(models), height=0.75 + 0.19 * most, least=3.0, most=2)
        for left, right, model in zip(made.axes[::2], made.axes[1::2], models, strict=True):
            own = [entry for entry in sensitivity if entry.model == model]
            _points(left, own, 1.0)
            _points(right, [entry for entry in accuracy if entry.model == model], 100.0)
            highest = [entry.most for entry in own if entry.arm != ICL]
            said = scale_by_size(left, "x", np.concatenate([reach(own), *highest]), most=6 if wide else 3)
            _compare_with_icl(left, own)
            left.set(xlabel=f"Sen{said}")
            reached = reach([entry for entry in accuracy if entry.model == model], 100)
            right.set(xlim=(min(-3.0, reached.min(initial=0)), max(103.0, reached.max(initial=0))))
            right.set(xlabel="accuracy (%)")
            for axes in (left, right):
                named = axes is left or made.columns == 1
                names = [
                    short_name(arm_and_rate(entry), 34 if wide else 20) if named else "" for entry in own
                ]
                axes.set_yticks(range(len(own)), names, parse_math=False)
                axes.set_ylim(len(own) - 0.5, -0.5)
                axes.grid(visible=True, axis="x")
                axes.grid(visible=False, axis="y")
        of_model = [f"{model_title(model)}: " if len(models) > 1 else "" for model in models]
        whats = ("order sensitivity", "accuracy over the label set")
        made.title([f"{model}{what}" for model in of_model for what in whats], _NAMES)
        draws = rows["seed"].nunique()
        finish(made.figure, title=title, intervals=spread_of(draws, sensitivity), more=_marks())
    return made.figure


def epochs_figure(rows: Frame, *, title: str = "", width: float = style.TWO_COLUMNS) -> Figure:
    """Draw sensitivity over epochs: one panel an arm, one line a learning rate, in-context learning dashed.

    Args:
        rows: One row a model, draw, arm, drawn layer, learning rate and epoch.
        title: What stands above.
        width: In inches.
    """
    series = series_of(rows, "sensitivity")
    icl = {entry.model: entry for entry in series if entry.arm == ICL}
    found = tuple(dict.fromkeys((entry.model, entry.arm) for entry in series if entry.arm != ICL))
    rates = list(dict.fromkeys(_rate(entry) for entry in series if entry.arm != ICL))
    looks = {
        rate: {"color": colour, **line_style(place)}
        for place, (rate, colour) in enumerate(zip(rates, style.ordered_colours(len(rates)), strict=True))
    }
    with style.figure_style():
        made = panels(width, len(found), height=1.7, least=1.6, sharey=True)
        for axes, (model, arm) in zip(made.axes, found, strict=True):
            own = [entry for entry in series if (entry.model, entry.arm) == (model, arm)]
            draw_level(axes, icl[model])
            for entry in own:
                label = f"learning rate {_rate(entry)}"
                draw_series(axes, entry, label=label, **looks[_rate(entry)])
                if np.isnan(entry.mean).all() and len(own) > 1:
                    axes.plot([], [], " ", label=f"{arm}, {entry.rate_name} (diverged)")
            if all(np.isnan(entry.mean).all() for entry in own):
                _tell_diverged(axes, (0.5, 0.5), axes.transAxes)
            name_epochs(axes, own)
        said = scale_by_size(made.axes[0], "y", reach(series))
        for axes in made.bottom:
            axes.set_xlabel("epoch")
        for axes in made.left:
            axes.set_ylabel(f"Sen{said}")
        several = len(icl) > 1
        made.title([f"{model_title(model)}: {arm}" if several else arm for model, arm in found])
        finish(made.figure, title=title, intervals=spread_of(rows["seed"].nunique(), series))
    return made.figure


def _tell_diverged(axes: Axes, place: tuple[float, float], transform: Any) -> None:
    looks: Any = {"va": "center", "ha": "center", "fontsize": 6, "color": style.UNREMARKABLE}
    axes.text(*place, "diverged", transform=transform, **looks)


def _rate(entry: Series) -> str:
    """Return what the line of a learning rate is called; chosen rates, which differ, are one line."""
    return "chosen for each draw" if entry.chosen else entry.rate_name


def _points(axes: Axes, own: list[Series], scale: float) -> None:
    colours = style.colours_of(entry.arm for entry in own)
    for place, entry in enumerate(own):
        mean, std = scale * float(entry.mean[-1]), scale * float(entry.std[-1])
        if np.isnan(entry.mean).all():
            _tell_diverged(axes, (0.5, place), axes.get_yaxis_transform())
        elif mean == mean:
            draw_points(
                axes, [place], [mean], [std], colours[entry.arm], across=True, marker="o", markersize=4.5
            )


def _compare_with_icl(axes: Axes, own: list[Series]) -> None:
    for place, entry in enumerate(own):
        if entry.arm == ICL:
            colour = style.NAMED_COLOURS[ICL]
            axes.axvline(float(entry.mean[-1]), color=colour, linestyle=LEVEL_LINE, linewidth=1.1, label=ICL)
        elif not np.isnan(entry.mean).all():
            axes.plot(float(np.nanmean(entry.most)), place, "D", color=style.INK, markersize=2.6, zorder=4)


def _marks() -> list[Any]:
    """Return what the legend says of the marks in all rows."""
    from matplotlib.lines import Line2D

    looks: dict[str, Any] = {"color": style.INK, "linestyle": "none"}
    return [
        Line2D([], [], marker="o", markersize=4.5, label="after the last epoch, mean over draws", **looks),
        Line2D([], [], marker="D", markersize=2.6, label="most over epochs, mean over draws", **looks),
    ]
