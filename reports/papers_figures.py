"""The figures of the papers' experiments: one look, the same order and colours of arms in all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import GD, ICL, ZERO_SHOT
from ..study.series import series_of
from . import style
from .arm_style import draw_arms
from .drift import accuracies_by_checkpoint, gaps_by_checkpoint
from .heatmap import column_names, draw_heatmap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Shared changes blue, those of ICL and of finetuning in their colours; incorrect ones are paler.
_PARTITION_COLOURS: Mapping[str, str] = {
    "shared": "#009e73",
    "ICL only": style.SETTING_COLOURS["icl"],
    "FT only": style.SETTING_COLOURS["ft"],
}
# The first that a row's name holds.
_ROW_COLOURS: tuple[tuple[str, str], ...] = (
    ("random", "#c9c9c9"),
    ("permuted pairs", style.MEASURE_COLOURS["SimAOU, null permuted_pairs"]),
    ("shared baseline", style.MEASURE_COLOURS["SimAOU, null shared_baseline"]),
    ("partial", style.MEASURE_COLOURS["SimAOU partial"]),
    ("clipped", "#cc79a7"),
    ("layer-causal", style.RECIPE_COLOURS["barnatan_lcft"]),
    ("ZSL", style.SETTING_COLOURS["zsl"]),
    ("ICL", style.SETTING_COLOURS["icl"]),
    ("FT", style.SETTING_COLOURS["ft"]),
    ("Jaccard, correct", "#009e73"),
    ("Jaccard, incorrect", "#cc79a7"),
    ("Jaccard", "#56b4e9"),
)
_LINE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def reproduction_figures(study: Any) -> dict[str, Callable[[Any], Figure]]:
    """Return what draws each figure of an experiment: ``figure``, and where each part has its own, the others' too.

    Args:
        study: An experiment, run.
    """
    name = study.config.experiment.figure
    if name not in OF_EACH_PART:
        return {"figure": FIGURES[name]}
    return {
        f"figure-{label}" if place else "figure": partial(_of_part, label=label, kind=OF_EACH_PART[name])
        for place, label in enumerate(study.parts)
    }


def _of_part(study: Any, label: str, kind: str | None) -> Figure:
    return study.parts[label].plot(kind)


def _title(result: Any) -> str:
    experiment = result.experiment
    return f"{experiment.paper} {experiment.name}, {result.config.scale} scale"


def bar_figure(result: Any) -> Figure:
    """Draw the rows of a table as bars beside each other, published numbers as lines across them."""
    columns = tuple(dict.fromkeys(entry.column for entry in result.measured))
    panels: dict[str, list[str]] = {}
    for row in result.experiment.rows:
        panels.setdefault(row.panel, []).append(row.label)
    with style.figure_style():
        figure = style.new_figure(max(6.4, 2.4 + 1.3 * len(columns)), 0.6 + 2.5 * len(panels))
        axes_of = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True))
        for axes, (panel, rows) in zip(axes_of, panels.items(), strict=True):
            _bars(axes, result, rows, columns)
            axes.set_ylabel(panel)
            axes.axhline(0, color="#333333", linewidth=0.7)
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes_of[-1].set_xticks(range(len(columns)), _shown(result, columns))
        figure.suptitle(f"{_title(result)}: black lines are the published numbers")
    return figure


def _shown(result: Any, labels: Sequence[str]) -> list[str]:
    """Return labels of parts as tick labels."""
    shown = dict(result.tables["parts"][["part", "shown_as"]].itertuples(index=False))
    return [shown.get(label, label) for label in labels]


def _bars(axes: Axes, result: Any, rows: Sequence[str], columns: Sequence[str]) -> None:
    width = 0.8 / len(rows)
    numbers = {(entry.row, entry.column): entry for entry in result.measured}
    for place, row in enumerate(rows):
        x = np.arange(len(columns)) - 0.4 + width * (place + 0.5)
        entries = [numbers[row, column] for column in columns]
        axes.bar(
            x,
            [entry.value for entry in entries],
            0.92 * width,
            yerr=_spreads(entries),
            color=_row_colour(row, place),
            error_kw={"ecolor": "#333333", "elinewidth": 0.9},
            label=row,
        )
        for position, column in zip(x, columns, strict=True):
            published = result.published(row, column)
            if published is not None:
                axes.hlines(
                    published.value, position - width / 2, position + width / 2, color="black", lw=1.6
                )


def _spreads(entries: Sequence[Any]) -> np.ndarray | None:
    spread = np.array([entry.std for entry in entries])
    return None if np.isnan(spread).all() else np.nan_to_num(spread)


def _row_colour(row: str, place: int) -> str:
    found = (colour for part, colour in _ROW_COLOURS if part in row)
    return next(found, _LINE_COLOURS[place % len(_LINE_COLOURS)])


def partition_figure(result: Any) -> Figure:
    """Draw how many predictions changed: shared, by ICL only, by finetuning only; paler: to a wrong label."""
    columns = tuple(result.studies)
    numbers = {(entry.row, entry.column): entry.value for entry in result.measured}
    rows = tuple(dict.fromkeys(entry.row for entry in result.measured))
    with style.figure_style():
        figure = style.new_figure(max(6.4, 2.4 + 1.3 * len(columns)), 3.8)
        axes = figure.subplots()
        groups = tuple(dict.fromkeys(row.split(",")[0] for row in rows))
        width = 0.8 / len(groups)
        for place, group in enumerate(groups):
            x = np.arange(len(columns)) - 0.4 + width * (place + 0.5)
            base = np.zeros(len(columns))
            for row in (row for row in rows if row.startswith(group)):
                heights = np.array([numbers[row, column] for column in columns])
                pale = row.endswith("incorrect")
                axes.bar(
                    x,
                    heights,
                    0.92 * width,
                    bottom=base,
                    color=_PARTITION_COLOURS[group],
                    alpha=0.4 if pale else 1.0,
                    label=row,
                )
                base += heights
        axes.set_xticks(range(len(columns)), _shown(result, columns))
        axes.set_ylabel("changed predictions")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.suptitle(f"{_title(result)}: what ICL and finetuning change of the zero-shot predictions")
    return figure


def accuracy_against_gap_figure(result: Any) -> Figure:
    """Draw accuracy in context against the parameter gap to the first checkpoint, one line a task."""
    (study,) = result.studies.values()
    gaps = np.nan_to_num(gaps_by_checkpoint(study.tables["gaps"], "first"))
    labels, accuracy = study.tables["checkpoints"]["checkpoint"].tolist(), study.tables["accuracy"]
    with style.figure_style():
        figure = style.new_figure(7.2, 3.8)
        axes = figure.subplots()
        for index, task in enumerate(dict.fromkeys(accuracy["task"])):
            values = 100 * np.array(accuracies_by_checkpoint(accuracy, task))
            mean, spread = values.mean(axis=1), values.std(axis=1)
            colour = _LINE_COLOURS[index % len(_LINE_COLOURS)]
            axes.fill_between(gaps, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
            axes.plot(gaps, mean, "o-", color=colour, label=task)
        for gap, label in _apart(gaps, labels):
            axes.annotate(label, (gap, 0), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=7)
        axes.set(
            xlabel=f"parameter gap to step {labels[0]}: mean |ΔW| (above the axis: some of the steps)",
            ylabel="ICL accuracy (%)",
            ylim=(0, 104),
        )
        axes.legend(title="task", loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.suptitle(f"{_title(result)}: ICL accuracy while the weights move")
    return figure


def outputs_figure(result: Any) -> Figure:
    """Draw accuracy, token overlap and OCS over epochs: one row a number of demonstrations or a model.

    One line for each arm (colour) and learning rate (line); the dashed line is in-context learning, with its own
    demonstrations in another order where two outputs are compared.
    """
    shown = result.experiment
    cells: list[tuple[str, Any, int]] = []
    for label, study in result.studies.items():
        for shots in (count for count in study.config.shots if not shown.shots or count in shown.shots):
            name = f"N = {shots}" if len(result.studies) == 1 else _shown(result, [label])[0]
            cells.append((name, study, shots))
    with style.figure_style():
        figure = style.new_figure(10.0, 1.0 + 2.1 * len(cells))
        panels = figure.subplots(len(cells), len(_OUTPUT_PANELS), sharex=True, squeeze=False)
        for line, (name, study, shots) in zip(panels, cells, strict=True):
            for axes, (measure, title) in zip(line, _OUTPUT_PANELS.items(), strict=True):
                own = [
                    entry
                    for entry in series_of(study.tables["rows"], measure)
                    if entry.shots == shots and _is_shown(entry.arm, shown.arms)
                ]
                draw_arms(axes, own)
                axes.set(ylim=(-0.04, 1.04))
                if axes in panels[0]:
                    axes.set_title(title)
            line[0].set_ylabel(name)
        for axes in panels[-1]:
            axes.set_xlabel("epoch")
        handles = {
            label: handle
            for axes in panels.flat
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        panels[0, -1].legend(handles.values(), handles.keys(), loc="upper left", bbox_to_anchor=(1.02, 1.0))
        task = cells[0][1].tables["rows"]["task"].iloc[0]
        figure.suptitle(f"{_title(result)}: {task} (bands: ± one std over draws and drawn layers)")
    return figure


_OUTPUT_PANELS: Mapping[str, str] = {
    "accuracy_vocabulary": "accuracy over the vocabulary",
    "token_overlap": "token overlap with ICL",
    "ocs": "OCS with ICL",
}


def _is_shown(arm: str, arms: Sequence[str]) -> bool:
    return not arms or arm in (ICL, ZERO_SHOT) or arm in arms


def accuracy_by_shots_figure(result: Any) -> Figure:
    """Draw accuracy by number of demonstrations as bars, published numbers as lines across them."""
    rows = tuple(dict.fromkeys(entry.row for entry in result.measured))
    columns = tuple(dict.fromkeys(entry.column for entry in result.measured))
    with style.figure_style():
        figure = style.new_figure(7.4, 3.4)
        axes = figure.subplots()
        width = 0.8 / len(columns)
        numbers = {(entry.row, entry.column): entry for entry in result.measured}
        for place, column in enumerate(columns):
            x = np.arange(len(rows)) - 0.4 + width * (place + 0.5)
            entries = [numbers[row, column] for row in rows]
            axes.bar(
                x,
                [entry.value for entry in entries],
                0.92 * width,
                yerr=_spreads(entries),
                color=style.SETTING_COLOURS["ft"],
                alpha=0.45 if place == 0 else 1.0,
                error_kw={"ecolor": "#333333", "elinewidth": 0.9},
                label=column,
            )
            for position, row in zip(x, rows, strict=True):
                published = result.published(row, column)
                if published is not None:
                    axes.hlines(
                        published.value, position - width / 2, position + width / 2, color="black", lw=1.6
                    )
        axes.set_xticks(range(len(rows)), _shown(result, rows))
        axes.set(ylabel="accuracy of GD over the vocabulary", ylim=(0, 1.04))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.suptitle(f"{_title(result)}: black lines are the published numbers")
    return figure


def pairwise_figure(result: Any) -> Figure:
    """Draw token overlap and OCS between every two checkpoints of gradient descent, mean over draws."""
    (study,) = result.studies.values()
    seeds = study.tables["rows"]["seed"].unique().tolist()
    with style.figure_style():
        figure = style.new_figure(10.0, 4.8)
        panels = figure.subplots(1, 2, sharey=True)
        image: Any = None
        for axes, measure, title in zip(
            panels, ("token_overlap", "ocs"), ("token overlap", "OCS"), strict=True
        ):
            draws = [study.pairwise(GD, measure, seeds=(seed,)) for seed in seeds]
            names = draws[0].labels
            alike = [pairs.values.numpy() for pairs in draws if pairs.labels == names]
            image = draw_heatmap(axes, np.mean(alike, axis=0), 0, 1)
            column_names(axes, names)
            axes.set(title=title, xlabel="learning rate, epoch")
            axes.set_yticks(range(len(names)), names)
        panels[0].set_ylabel("learning rate, epoch")
        figure.colorbar(image, ax=list(panels), fraction=0.05, pad=0.02)
        figure.suptitle(f"{_title(result)}: checkpoints of GD against each other, mean over draws")
    return figure


def _apart(places: np.ndarray, labels: Sequence[str]) -> list[tuple[float, str]]:
    """Return the labels that can be read beside each other, the last one always."""
    least = 0.08 * float(np.ptp(places))
    kept: list[tuple[float, str]] = [(float(places[-1]), labels[-1])]
    for place, label in zip(places[-2::-1], labels[-2::-1], strict=True):
        if abs(float(place) - kept[-1][0]) >= least:
            kept.append((float(place), label))
    return kept


OF_EACH_PART: Mapping[str, str | None] = {
    "study": None,
    "thresholds": None,
    "layers": "layers",
    "gap": None,
    "order_by_epoch": "epochs",
}
"""Figures that are each part's own, and which of its pictures; None is its first."""
FIGURES: Mapping[str, Callable[[Any], Figure]] = {
    "accuracy_against_gap": accuracy_against_gap_figure,
    "outputs": outputs_figure,
    "accuracy_by_shots": accuracy_by_shots_figure,
    "pairwise": pairwise_figure,
    "bars": bar_figure,
    "partition": partition_figure,
}
