"""The figures of a study of outputs: over epochs, by shots, by model, and checkpoints against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analyses.arms.outputs import OutputsStudy, PairMeasure
from ..analyses.arms.series import ICL, ZERO_SHOT, Series
from . import style
from .arm_style import arm_colour, diverged, draw_level, draw_series, line_style, model_title, series_name
from .heatmap import draw_heatmap
from .outputs_table import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = {
    "accuracy_vocabulary": ("accuracy over the vocabulary (%)", 100.0),
    "token_overlap": ("token overlap with ICL", 1.0),
    "ocs": ("OCS with ICL", 1.0),
}
_PAIR_WORDS: dict[PairMeasure, str] = {"token_overlap": "token overlap", "ocs": "OCS"}
_MOST_NAMED = 40


def epochs_figure(study: OutputsStudy, shots: int | None = None, model: str | None = None) -> Figure:
    """Draw accuracy, token overlap and OCS over epochs, one line an arm and learning rate (Shen et al. Fig. 5).

    Args:
        study: The study.
        shots: Demonstrations; by default the most there are.
        model: The model; by default the first.
    """
    chosen = max(study.config.shots) if shots is None else shots
    name = study.rows[0].model if model is None else model
    with style.figure_style():
        figure = style.new_figure(10.4, 3.9)
        panels = figure.subplots(1, 3)
        for axes, (measure, (label, scale)) in zip(panels, _PANELS.items(), strict=True):
            own = [entry for entry in study.series(measure) if (entry.model, entry.shots) == (name, chosen)]
            _draw_epochs(axes, own, scale)
            axes.set(xlabel="epoch", ylabel=label, ylim=(0, 1.04 * scale))
        _legend(figure, panels[0], panels[1:])
        figure.suptitle(
            f"{model_title(name)} · {study.rows[0].task} · {plural(chosen)} (shaded: one std over draws)"
        )
    return figure


def shots_figure(study: OutputsStudy) -> Figure:
    """Draw accuracy after the last epoch against the number of demonstrations, over vocabulary and label set.

    Args:
        study: The study, of several numbers of shots.
    """
    measures = {"accuracy_vocabulary": "over the vocabulary", "accuracy_labels": "over the label set"}
    models = tuple(dict.fromkeys(row.model for row in study.rows))
    shots = sorted(study.config.shots)
    with style.figure_style():
        figure = style.new_figure(8.2, 0.7 + 3.2 * len(models))
        grid = figure.subplots(len(models), 2, sharey=True, squeeze=False)
        for row, model in zip(grid, models, strict=True):
            for axes, (measure, words) in zip(row, measures.items(), strict=True):
                own = [entry for entry in study.series(measure) if entry.model == model]
                _draw_by(axes, own, [entry.shots for entry in own], shots)
                axes.set_xscale("log", base=2)
                axes.set_xticks(shots, [str(number) for number in shots])
                axes.minorticks_off()
                axes.set(
                    title=f"{model_title(model)}: accuracy {words}", xlabel="demonstrations", ylim=(0, 104)
                )
            row[0].set_ylabel("accuracy (%)")
        _legend(figure, grid[0, 0], list(grid.flat)[1:])
        figure.suptitle(f"{study.rows[0].task}: after the last epoch, by number of demonstrations")
    return figure


def models_figure(study: OutputsStudy) -> Figure:
    """Draw accuracy, token overlap and OCS after the last epoch by model, with the most demonstrations (Fig. 23).

    Args:
        study: The study, of several models.
    """
    models = list(dict.fromkeys(row.model for row in study.rows))
    most = max(study.config.shots)
    with style.figure_style():
        figure = style.new_figure(10.4, 3.9)
        panels = figure.subplots(1, 3)
        for axes, (measure, (label, scale)) in zip(panels, _PANELS.items(), strict=True):
            own = [entry for entry in study.series(measure) if entry.shots == most]
            places = [models.index(entry.model) for entry in own]
            _draw_by(axes, own, places, list(range(len(models))), scale)
            axes.set_xticks(
                range(len(models)), [model_title(model) for model in models], rotation=30, ha="right"
            )
            axes.set(xlabel="model", ylabel=label, ylim=(0, 1.04 * scale))
        _legend(figure, panels[0], panels[1:])
        figure.suptitle(f"{study.rows[0].task} · {plural(most)} · after the last epoch, by model")
    return figure


def pairs_figure(study: OutputsStudy, arm: str, measure: PairMeasure = "token_overlap") -> Figure:
    """Draw how alike every two checkpoints of an arm answer.

    Args:
        study: The study.
        arm: The arm.
        measure: ``token_overlap`` or ``ocs``.
    """
    pairs = study.pairwise(arm, measure)
    count = len(pairs.labels)
    with style.figure_style():
        figure = style.new_figure(min(9.0, 3.6 + 0.2 * count), min(8.2, 2.8 + 0.2 * count))
        axes = figure.subplots()
        image = draw_heatmap(axes, pairs.values.numpy(), 0, 1)
        step = -(-count // _MOST_NAMED)
        named = range(0, count, step)
        axes.set_xticks(named, [pairs.labels[place] for place in named], rotation=90)
        axes.set_yticks(named, [pairs.labels[place] for place in named])
        axes.set(xlabel="learning rate, epoch", ylabel="learning rate, epoch")
        axes.set_title(f"{arm} with {arm}: {_PAIR_WORDS[measure]} of every two checkpoints")
        figure.colorbar(image, ax=axes, label=_PAIR_WORDS[measure])
    return figure


def _draw_epochs(axes: Axes, own: Sequence[Series], scale: float) -> None:
    arms = [entry.arm for entry in own]
    for entry in own:
        if entry.arm in (ICL, ZERO_SHOT):
            draw_level(axes, entry, scale, "--" if entry.arm == ICL else ":")
            continue
        place = [other for other in own if other.arm == entry.arm].index(entry)
        draw_series(
            axes,
            entry,
            scale,
            color=arm_colour(entry.arm, arms),
            label=series_name(entry),
            **line_style(place),
        )


def _draw_by(
    axes: Axes, own: Sequence[Series], places: Sequence[int], everywhere: Sequence[int], scale: float = 100.0
) -> None:
    """Draw what is left after the last epoch against shots or models, one line an arm and learning rate."""
    arms = [entry.arm for entry in own]
    lines: dict[tuple[str, object], dict[int, Series]] = {}
    for entry, place in zip(own, places, strict=True):
        key = entry.arm, None if entry.chosen or not entry.learning_rates else entry.learning_rates[0]
        lines.setdefault(key, {})[place] = entry
    for (arm, rate), found in lines.items():
        at = [place for place in everywhere if place in found]
        means = scale * np.array([float(found[place].mean[-1]) for place in at])
        spreads = scale * np.array([float(found[place].std[-1]) for place in at])
        rates = [other for name, other in lines if name == arm]
        drawn = line_style(rates.index(rate))
        if arm in (ICL, ZERO_SHOT):
            drawn["linestyle"] = "--" if arm == ICL else ":"
        name = arm if arm in (ICL, ZERO_SHOT) else f"{arm}, {'auto' if rate is None else f'{rate:g}'}"
        name += diverged(means)
        axes.errorbar(
            at, means, yerr=spreads, color=arm_colour(arm, arms), label=name, elinewidth=0.8, **drawn
        )


def _legend(figure: Figure, first: Axes, others: Sequence[Axes]) -> None:
    """Put one legend of everything that some panel shows under the figure."""
    found: dict[str, Any] = {}
    for axes in (first, *others):
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=min(5, len(found)))
