"""Order sensitivity: the sheet, and the figures by arm beside in-context learning and over epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..study.names import ICL
from ..study.series import Series, series_of
from ..study.sheet import Block, Cell, Sheet, sheet_of
from . import style
from .arm_style import (
    arm_colour,
    diverged,
    draw_level,
    draw_series,
    line_style,
    model_title,
    rate_colours,
    series_name,
    spread,
    spread_note,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_COLUMNS = 4
# Sensitivities below this are rounding: too small a bar to see, so the number is written.
_ALMOST_NOTHING = 1e-3
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


def order_figure(study: Study) -> Figure:
    """Draw the sensitivity of every arm after its last epoch beside in-context learning (Shen et al. Fig. 4).

    Args:
        study: A study of order sensitivity.
    """
    first = study.tables["rows"].iloc[0]
    title = f"{first['task']}: the same {first['orders']} orders in context and finetuned"
    return sensitivity_figure(study.tables["rows"], title=title)


def order_epochs_figure(study: Study) -> Figure:
    """Draw sensitivity over epochs, one panel an arm and one line a learning rate (Shen et al. Figs. 6–8).

    Args:
        study: A study of order sensitivity.
    """
    title = "order sensitivity over epochs, by learning rate (shaded: one std over draws)"
    return epochs_figure(study.tables["rows"], title=title)


def sensitivity_figure(rows: Frame, *, title: str = "") -> Figure:
    """Draw the sensitivity of every arm after its last epoch, the most over epochs, and accuracy beside it.

    Args:
        rows: One row a model, draw, arm, drawn layer, learning rate and epoch.
        title: What stands above.
    """
    sensitivity, accuracy = series_of(rows, "sensitivity"), series_of(rows, "accuracy_labels")
    models = tuple(dict.fromkeys(entry.model for entry in sensitivity))
    most = max(sum(entry.model == model for entry in sensitivity) for model in models)
    with style.figure_style():
        figure = style.new_figure(8.4, len(models) * (1.3 + 0.27 * most))
        panels = np.atleast_2d(figure.subplots(len(models), 2, width_ratios=(2, 1), squeeze=False))
        for (left, right), model in zip(panels, models, strict=True):
            own = [entry for entry in sensitivity if entry.model == model]
            _bars(left, own, 1.0)
            _bars(right, [entry for entry in accuracy if entry.model == model], 100.0)
            _compare_with_icl(left, own)
            left.set_yticks(range(len(own)), [series_name(entry) for entry in own])
            right.set_yticks(range(len(own)), [""] * len(own))
            left.set_title(f"{model_title(model)}: order sensitivity")
            left.set_xlim(left=0)
            right.set(title="accuracy", xlim=(0, 100))
            for axes in (left, right):
                axes.invert_yaxis()
                axes.grid(visible=True, axis="x")
                axes.grid(visible=False, axis="y")
        panels[-1, 0].set_xlabel("Sen (bar: last epoch, ◆: most over epochs, mean over draws; dashed: ICL)")
        panels[-1, 1].set_xlabel("% over the label set")
        figure.suptitle(title)
    return figure


def epochs_figure(rows: Frame, *, title: str = "") -> Figure:
    """Draw sensitivity over epochs: one panel an arm, one line a learning rate, in-context learning dashed.

    Args:
        rows: One row a model, draw, arm, drawn layer, learning rate and epoch.
        title: What stands above.
    """
    series = series_of(rows, "sensitivity")
    icl = {entry.model: entry for entry in series if entry.arm == ICL}
    panels = tuple(dict.fromkeys((entry.model, entry.arm) for entry in series if entry.arm != ICL))
    columns = min(_COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    several = len(icl) > 1
    with style.figure_style():
        figure = style.new_figure(max(4.6, 0.6 + 2.6 * columns), 0.7 + 2.5 * lines)
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place >= len(panels):
                axes.set_visible(False)
                continue
            model, arm = panels[place]
            own = [entry for entry in series if (entry.model, entry.arm) == (model, arm)]
            draw_level(axes, icl[model])
            for index, (entry, colour) in enumerate(zip(own, rate_colours(len(own)), strict=True)):
                draw_series(
                    axes,
                    entry,
                    color=colour,
                    label=entry.rate_name + diverged(entry.mean),
                    **line_style(index),
                )
            axes.set(title=f"{model_title(model)}: {arm}" if several else arm)
            axes.set_xticks(own[0].epochs)
            axes.tick_params(axis="x", rotation=45 if len(own[0].epochs) > 6 else 0)
            axes.legend(loc="best")
            if place + columns >= len(panels):
                axes.set_xlabel("epoch")
        # Shared axes stop fitting themselves to what is drawn when a limit is set, so this comes last.
        grid[0, 0].set_ylim(bottom=0)
        for line in grid:
            line[0].set_ylabel("Sen")
        figure.suptitle(title)
    return figure


def _bars(axes: Axes, own: list[Series], scale: float) -> None:
    arms = [entry.arm for entry in own]
    for place, entry in enumerate(own):
        mean, std = scale * float(entry.mean[-1]), scale * float(entry.std[-1])
        if mean != mean:
            continue
        if 0 < mean < _ALMOST_NOTHING:
            axes.text(0, place, f"  {mean:.1g}", va="center", fontsize=7, color="#6e6e6e")
        axes.barh(
            place, mean, xerr=std, height=0.7, color=arm_colour(entry.arm, arms), error_kw={"elinewidth": 1}
        )


def _compare_with_icl(axes: Axes, own: list[Series]) -> None:
    for place, entry in enumerate(own):
        if entry.arm == ICL:
            axes.axvline(float(entry.mean[-1]), color=arm_colour(ICL, ()), linestyle="--", linewidth=1.2)
        elif not np.isnan(entry.mean).all():
            most = float(np.nanmean(entry.most))
            if most >= _ALMOST_NOTHING:
                axes.plot(most, place, "D", color="#333333", markersize=3.5)
