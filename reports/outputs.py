"""Outputs in context and finetuned: the sheet, and figures over epochs, by shots, by model, and of checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import ICL, ZERO_SHOT
from ..study.series import Series, series_of
from ..study.sheet import Block, Cell, Sheet, sheet_of
from . import style
from .arm_style import arm_colour, diverged, draw_arms, line_style, model_title, spread, spread_note
from .heatmap import draw_heatmap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_PANELS = {
    "accuracy_vocabulary": ("accuracy over the vocabulary (%)", 100.0),
    "token_overlap": ("token overlap with ICL", 1.0),
    "ocs": ("OCS with ICL", 1.0),
}
_PAIR_WORDS = {"token_overlap": "token overlap", "ocs": "OCS"}
_MOST_NAMED = 40
_HEADINGS = (
    *("learning rate", "epoch", "accuracy %", "over labels %"),
    *("token overlap", "OCS", "best accuracy %"),
)
_READINGS = {
    "sqrt_k_minus_o": "Eq. 6 with K - |O| inside the root",
    "k_minus_o": "Eq. 6 with K - |O| outside the root",
    "none": "the cosine on shared tokens alone",
    "topk_cosine": "the cosine over all top tokens",
}


def outputs_sheet(study: Study) -> Sheet:
    """Return one row an arm and learning rate, a block a model and number of shots.

    Args:
        study: A study of outputs.
    """
    measures = ("accuracy_vocabulary", "accuracy_labels", "token_overlap", "ocs")
    grouped = list(zip(*(series_of(study.tables["rows"], measure) for measure in measures), strict=True))
    several = study.tables["rows"]["model"].nunique() > 1
    blocks = tuple(
        Block(
            f"{model}, {plural(shots)}" if several else plural(shots),
            _HEADINGS,
            tuple(
                (entry[0].arm, _cells(*entry))
                for entry in grouped
                if (entry[0].model, entry[0].shots) == (model, shots)
            ),
        )
        for model, shots in dict.fromkeys((entry[0].model, entry[0].shots) for entry in grouped)
    )
    config = study.config
    notes = (
        f"accuracy: over the whole vocabulary; token overlap and OCS: top {config.top_k} tokens shared with ICL, "
        f"of ICL itself with other orders of the same demonstrations ({_READINGS[config.overlap_norm]})",
        spread_note(
            len(config.seeds),
            [entry[0] for entry in grouped],
            "best: the epoch of the highest accuracy, which these queries chose",
        ),
    )
    return sheet_of(study, blocks, notes)


def plural(shots: int) -> str:
    """Return a number of demonstrations in words."""
    return f"{shots} demonstration{'s' * (shots != 1)}"


def _cells(accuracy: Series, labels: Series, overlap: Series, cosine: Series) -> tuple[Cell, ...]:
    means = accuracy.mean
    best: Cell = ("–",)
    if accuracy.epochs[-1] is not None and not np.isnan(means).all():
        place = int(np.nanargmax(means))
        mean, *std = spread(accuracy.values[:, place], ".1f", 100)
        best = (mean, *(std or ("",)), f"(epoch {accuracy.epochs[place]})")
    return (
        (accuracy.rate_name,),
        ("–" if accuracy.epochs[-1] is None else str(accuracy.epochs[-1]),),
        spread(accuracy.values[:, -1], ".1f", 100),
        spread(labels.values[:, -1], ".1f", 100),
        spread(overlap.values[:, -1], ".2f"),
        spread(cosine.values[:, -1], ".2f"),
        best,
    )


def outputs_epochs_figure(study: Study) -> Figure:
    """Draw accuracy, token overlap and OCS over epochs (Shen et al. Figs. 5 and 11–22).

    Args:
        study: A study of outputs.
    """
    rows = study.tables["rows"]
    return epochs_figure(rows, title=f"{rows['task'].iloc[0]} (shaded: one std over draws)")


def outputs_shots_figure(study: Study) -> Figure:
    """Draw accuracy after the last epoch against the number of demonstrations.

    Args:
        study: A study of outputs, of several numbers of shots.
    """
    rows = study.tables["rows"]
    title = f"{rows['task'].iloc[0]}: after the last epoch, by number of demonstrations"
    return shots_figure(rows, title=title)


def outputs_models_figure(study: Study) -> Figure:
    """Draw accuracy, token overlap and OCS after the last epoch by model, with the most shots (Shen et al. Fig. 23).

    Args:
        study: A study of outputs, of several models.
    """
    rows = study.tables["rows"]
    most = int(rows["shots"].max())
    title = f"{rows['task'].iloc[0]} · {plural(most)} · after the last epoch, by model"
    return models_figure(rows[rows["shots"] == most], title=title)


def outputs_pairs_figure(study: Study) -> Figure:
    """Draw how alike every two checkpoints of the first arm answer.

    Args:
        study: A study of outputs.
    """
    pairs = study.tables["pairs"]
    arm = pairs["arm"].iloc[0]
    return pairs_figure(pairs[pairs["arm"] == arm], title=f"{arm} with {arm}")


def epochs_figure(rows: Frame, *, title: str = "") -> Figure:
    """Draw accuracy, token overlap and OCS over epochs: a line an arm and rate, a row a model and number of shots.

    Args:
        rows: One row a model, number of shots, draw, arm, drawn layer, learning rate and epoch.
        title: What stands above.
    """
    cells = list(dict.fromkeys(zip(rows["model"], rows["shots"].tolist(), strict=True)))
    several = rows["model"].nunique() > 1
    with style.figure_style():
        figure = style.new_figure(10.4, 1.6 + 2.3 * len(cells))
        grid = figure.subplots(len(cells), len(_PANELS), squeeze=False)
        for column, (measure, (label, scale)) in enumerate(_PANELS.items()):
            series = series_of(rows, measure)
            for axes, cell in zip(grid[:, column], cells, strict=True):
                draw_arms(axes, [entry for entry in series if (entry.model, entry.shots) == cell], scale)
                axes.set_ylim(0, 1.04 * scale)
            grid[0, column].set_title(label)
            grid[-1, column].set_xlabel("epoch")
        for axes, (model, shots) in zip(grid[:, 0], cells, strict=True):
            axes.set_ylabel(f"{model_title(model)}\n{plural(shots)}" if several else plural(shots))
        _legend(figure, list(grid.flat))
        figure.suptitle(title)
    return figure


def shots_figure(rows: Frame, *, title: str = "") -> Figure:
    """Draw accuracy after the last epoch against the number of demonstrations, over vocabulary and label set.

    Args:
        rows: One row a model, number of shots, draw, arm, drawn layer, learning rate and epoch.
        title: What stands above.
    """
    measures = {"accuracy_vocabulary": "over the vocabulary", "accuracy_labels": "over the label set"}
    models = tuple(dict.fromkeys(rows["model"]))
    shots = sorted(set(rows["shots"].tolist()))
    with style.figure_style():
        figure = style.new_figure(8.2, 0.7 + 3.2 * len(models))
        grid = figure.subplots(len(models), 2, sharey=True, squeeze=False)
        for line, model in zip(grid, models, strict=True):
            for axes, (measure, words) in zip(line, measures.items(), strict=True):
                own = [entry for entry in series_of(rows, measure) if entry.model == model]
                _draw_by(axes, own, [entry.shots for entry in own], shots)
                axes.set_xscale("log", base=2)
                axes.set_xticks(shots, [str(number) for number in shots])
                axes.minorticks_off()
                axes.set(
                    title=f"{model_title(model)}: accuracy {words}", xlabel="demonstrations", ylim=(0, 104)
                )
            line[0].set_ylabel("accuracy (%)")
        _legend(figure, list(grid.flat))
        figure.suptitle(title)
    return figure


def models_figure(rows: Frame, *, title: str = "") -> Figure:
    """Draw accuracy, token overlap and OCS after the last epoch by model.

    Args:
        rows: One row a model, draw, arm, drawn layer, learning rate and epoch, of one number of shots.
        title: What stands above.
    """
    models = list(dict.fromkeys(rows["model"]))
    with style.figure_style():
        figure = style.new_figure(10.4, 3.9)
        panels = figure.subplots(1, 3)
        for axes, (measure, (label, scale)) in zip(panels, _PANELS.items(), strict=True):
            own = series_of(rows, measure)
            places = [models.index(entry.model) for entry in own]
            _draw_by(axes, own, places, list(range(len(models))), scale)
            axes.set_xticks(
                range(len(models)), [model_title(model) for model in models], rotation=30, ha="right"
            )
            axes.set(xlabel="model", ylabel=label, ylim=(0, 1.04 * scale))
        _legend(figure, panels)
        figure.suptitle(title)
    return figure


def pairs_figure(pairs: Frame, *, measure: str = "token_overlap", title: str = "") -> Figure:
    """Draw how alike every two checkpoints of an arm answer.

    Args:
        pairs: One row every two checkpoints of one arm.
        measure: ``token_overlap`` or ``ocs``.
        title: What stands above, before the measure.
    """
    names = list(dict.fromkeys(pairs["checkpoint"]))
    values = pairs.pivot(index="checkpoint", columns="other", values=measure).loc[names, names].to_numpy()
    count, words = len(names), _PAIR_WORDS[measure]
    with style.figure_style():
        figure = style.new_figure(min(9.0, 3.6 + 0.2 * count), min(8.2, 2.8 + 0.2 * count))
        axes = figure.subplots()
        image = draw_heatmap(axes, values, 0, 1)
        named = range(0, count, -(-count // _MOST_NAMED))
        axes.set_xticks(named, [names[place] for place in named], rotation=90)
        axes.set_yticks(named, [names[place] for place in named])
        axes.set(xlabel="learning rate, epoch", ylabel="learning rate, epoch")
        axes.set_title(f"{title}: {words} of every two checkpoints" if title else words)
        figure.colorbar(image, ax=axes, label=words)
    return figure


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


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Put one legend of everything that some panel shows under the figure."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=min(5, len(found)))
