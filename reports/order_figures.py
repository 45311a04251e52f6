"""The figures of order sensitivity: by arm beside in-context learning, and over epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..analyses.arms.order import OrderStudy
from ..analyses.arms.series import ICL, Series
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
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
# Sensitivities below this are rounding: too small a bar to see, so the number is written.
_ALMOST_NOTHING = 1e-3


def sensitivity_figure(study: OrderStudy) -> Figure:
    """Draw the sensitivity of every arm after its last epoch, the most over epochs, and accuracy beside it.

    Args:
        study: The study.
    """
    sensitivity, accuracy = study.series("sensitivity"), study.series("accuracy_labels")
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
        figure.suptitle(
            f"{study.rows[0].task}: the same {study.rows[0].orders} orders in context and finetuned"
        )
    return figure


def epochs_figure(study: OrderStudy) -> Figure:
    """Draw sensitivity over epochs: one panel an arm, one line a learning rate, in-context learning dashed.

    Args:
        study: The study.
    """
    series = study.series("sensitivity")
    icl = {entry.model: entry for entry in series if entry.arm == ICL}
    panels = tuple(dict.fromkeys((entry.model, entry.arm) for entry in series if entry.arm != ICL))
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    several = len(icl) > 1
    with style.figure_style():
        figure = style.new_figure(max(4.6, 0.6 + 2.6 * columns), 0.7 + 2.5 * rows)
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
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
        for row in grid:
            row[0].set_ylabel("Sen")
        figure.suptitle("order sensitivity over epochs, by learning rate (shaded: one std over draws)")
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
