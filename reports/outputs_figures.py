"""Outputs in context and finetuned: figures over epochs, by shots, by model, and of every two checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..study.names import ICL, ZERO_SHOT
from ..study.series import Series, series_of
from . import style
from .arm_style import (
    LEVEL_LINES,
    diverged,
    draw_arms,
    line_style,
    model_title,
    name_epochs,
    reach,
    spread_of,
)
from .figure_text import short_name, subject_title
from .heatmap import BAR_POINTS, add_colour_bar, draw_heatmap
from .intervals import draw_points
from .outputs import plural
from .panels import beside_squares, finish, panels
from .ticks import name_layers, thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

MEASURES = {
    "accuracy_vocabulary": ("accuracy over the vocabulary", "accuracy (%)", 100.0),
    "token_overlap": ("token overlap with ICL", "token overlap", 1.0),
    "ocs": ("OCS with ICL", "OCS (cosine)", 1.0),
}
"""What figures over epochs show: title, axis, and what values are multiplied by."""
_ACCURACIES = {"accuracy_vocabulary": "over the vocabulary", "accuracy_labels": "over the label set"}
_NAMES, _NAME = 110.0, 11.0
"""Points beside a panel that names of checkpoints take, and points that each needs along its axis."""
_PAIR_WORDS = {"token_overlap": "token overlap", "ocs": "OCS"}


def outputs_epochs_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw accuracy, token overlap and OCS over epochs (Shen et al. Figs. 5 and 11–22).

    Args:
        study: A study of outputs.
        width: In inches.
    """
    rows = study.tables["rows"]
    several = rows["model"].nunique() > 1
    cells = [
        (f"{model_title(model)}, {plural(shots)}" if several else plural(shots), found)
        for (model, shots), found in rows.groupby(["model", "shots"], sort=False)
    ]
    return epochs_figure(cells, title=f"{subject_title(study.config)}: answers over epochs", width=width)


def outputs_shots_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw accuracy after the last epoch against the number of demonstrations.

    Args:
        study: A study of outputs, of several numbers of shots.
        width: In inches.
    """
    rows = study.tables["rows"]
    title = f"{subject_title(study.config)}: after the last epoch, by number of demonstrations"
    return shots_figure(rows, title=title, width=width)


def outputs_models_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw accuracy, token overlap and OCS after the last epoch by model, with the most shots (Shen et al. Fig. 23).

    Args:
        study: A study of outputs, of several models.
        width: In inches.
    """
    rows = study.tables["rows"]
    most = int(rows["shots"].max())
    title = f"{subject_title(study.config)} · {plural(most)} · after the last epoch, by model"
    return models_figure(rows[rows["shots"] == most], title=title, width=width)


def outputs_pairs_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw how alike every two checkpoints of the first arm answer.

    Args:
        study: A study of outputs.
        width: In inches.
    """
    pairs, rows = study.tables["pairs"], study.tables["rows"]
    arm = pairs["arm"].iloc[0]
    note = f"{model_title(rows['model'].iloc[0])}, {plural(int(rows['shots'].max()))}, one draw of them"
    title = f"{subject_title(study.config)}, {arm} with {arm}"
    return pairs_figure(pairs[pairs["arm"] == arm], title=title, notes=[note], width=width)


def epochs_figure(
    cells: Sequence[tuple[str, Frame]], *, title: str = "", width: float = style.TWO_COLUMNS
) -> Figure:
    """Draw accuracy, token overlap and OCS over epochs: a line an arm and rate, a row a cell.

    Args:
        cells: What each row is called, and its rows: one a draw, arm, drawn layer, learning rate and epoch.
        title: What stands above.
        width: In inches.
    """
    with style.figure_style():
        made = panels(width, len(cells) * len(MEASURES), height=2.0, most=len(MEASURES))
        titles, drawn = [], []
        for place, axes in enumerate(made.axes):
            name, rows = cells[place // len(MEASURES)]
            measure = list(MEASURES)[place % len(MEASURES)]
            what, unit, scale = MEASURES[measure]
            own = series_of(rows, measure)
            draw_arms(axes, own, scale)
            name_epochs(axes, own)
            _from_zero(axes, own, scale)
            axes.set(ylabel=unit, xlabel="epoch")
            titles.append(f"{name}: {what}" if len(cells) > 1 or made.columns == 1 else what)
            drawn += own
        made.title(titles)
        about = title if len(cells) > 1 else f"{title}, {cells[0][0]}"
        draws = max(rows["seed"].nunique() for _, rows in cells)
        finish(made.figure, title=about, intervals=spread_of(draws, drawn))
    return made.figure


def shots_figure(rows: Frame, *, title: str = "", width: float = style.TWO_COLUMNS) -> Figure:
    """Draw accuracy after the last epoch against the number of demonstrations, over vocabulary and label set.

    Args:
        rows: One row a model, number of shots, draw, arm, drawn layer, learning rate and epoch.
        title: What stands above.
        width: In inches.
    """
    models = tuple(dict.fromkeys(rows["model"]))
    shots = sorted(set(rows["shots"].tolist()))
    shown = [(model, measure) for model in models for measure in _ACCURACIES]
    with style.figure_style():
        made = panels(width, len(shown), height=2.2, least=2.8, most=2)
        for axes, (model, measure) in zip(made.axes, shown, strict=True):
            own = [entry for entry in series_of(rows, measure) if entry.model == model]
            _draw_by(axes, own, [entry.shots for entry in own], shots, 100.0)
            _from_zero(axes, own, 100.0)
            axes.set_xscale("log", base=2)
            axes.minorticks_off()
            name_layers(axes.xaxis, shots, most=8)
            axes.set(ylabel="accuracy (%)", xlabel="demonstrations")
        names = [f"{model_title(model)}: " if len(models) > 1 else "" for model in models]
        made.title([f"{name}accuracy {words}" for name in names for words in _ACCURACIES.values()])
        finish(made.figure, title=title, intervals=spread_of(rows["seed"].nunique(), series_of(rows, "ocs")))
    return made.figure


def models_figure(rows: Frame, *, title: str = "", width: float = style.TWO_COLUMNS) -> Figure:
    """Draw accuracy, token overlap and OCS after the last epoch by model.

    Args:
        rows: One row a model, draw, arm, drawn layer, learning rate and epoch, of one number of shots.
        title: What stands above.
        width: In inches.
    """
    models = list(dict.fromkeys(rows["model"]))
    with style.figure_style():
        made = panels(width, len(MEASURES), height=2.6)
        for axes, (measure, (_, unit, scale)) in zip(made.axes, MEASURES.items(), strict=True):
            own = series_of(rows, measure)
            places = [models.index(entry.model) for entry in own]
            _draw_by(axes, own, places, list(range(len(models))), scale)
            _from_zero(axes, own, scale)
            axes.set_xticks(
                range(len(models)),
                [short_name(model_title(model), 20) for model in models],
                rotation=30,
                ha="right",
                rotation_mode="anchor",
                parse_math=False,
            )
            axes.set(xlabel="model", ylabel=unit, xlim=(-0.4, len(models) - 0.6))
        made.title([what for what, *_ in MEASURES.values()])
        finish(made.figure, title=title, intervals=spread_of(rows["seed"].nunique(), series_of(rows, "ocs")))
    return made.figure


def pairs_figure(
    pairs: Frame,
    *,
    measure: str = "token_overlap",
    title: str = "",
    notes: Sequence[str] = (),
    width: float = style.TWO_COLUMNS,
) -> Figure:
    """Draw how alike every two checkpoints of an arm answer.

    Args:
        pairs: One row every two checkpoints of one arm.
        measure: ``token_overlap`` or ``ocs``.
        title: What stands above, before the measure.
        notes: What stands below.
        width: In inches.
    """
    names = list(dict.fromkeys(pairs["checkpoint"]))
    table = pairs.pivot(index="checkpoint", columns="other", values=measure).loc[names, names]
    words = _PAIR_WORDS[measure]
    about = f"{title}: {words} of every two checkpoints" if title else words
    maps = {words: table.to_numpy(dtype=float)}
    return checkpoint_pairs_figure(maps, names, title=about, notes=notes, width=width)


def checkpoint_pairs_figure(
    maps: dict[str, np.ndarray],
    names: Sequence[str],
    *,
    title: str = "",
    notes: Sequence[str] = (),
    width: float = style.TWO_COLUMNS,
) -> Figure:
    """Draw how alike every two checkpoints of an arm answer, one panel a measure, on one scale from 0 to 1.

    Args:
        maps: ``[C, C]`` of each measure.
        names: What each checkpoint is called: learning rate and epoch.
        title: What stands above.
        notes: What stands below.
        width: In inches.
    """
    with style.figure_style():
        made = panels(width, len(maps), height=min(3.6, 0.5 * width + 0.9), least=3.0)
        images = [
            draw_heatmap(axes, values, 0, 1) for axes, values in zip(made.axes, maps.values(), strict=True)
        ]
        kept = thinned(len(names), most=max(3, int((made.points - _NAMES) / _NAME)))
        for axes in made.axes:
            shown = [short_name(names[place], 20) for place in kept]
            slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
            axes.set_xticks(kept, shown, parse_math=False, **slanted)
            axes.set_yticks(kept, shown if axes in made.left else [""] * len(kept), parse_math=False)
            axes.set_xlabel("learning rate, epoch")
            axes.set_box_aspect(1)
        for axes in made.left:
            axes.set_ylabel("learning rate, epoch")
        made.title(list(maps) if len(maps) > 1 else [""])
        add_colour_bar(made.figure, images[0], made.axes, " and ".join(maps))
        hatched = any(np.isnan(values).any() for values in maps.values())
        told = [*notes, "hatched: undefined" if hatched else ""]
        finish(made.figure, title=title, notes=told, beside=beside_squares(made, BAR_POINTS))
    return made.figure


def _from_zero(axes: Axes, own: Sequence[Series], scale: float) -> None:
    """Let an axis of what lies between nothing and all reach from one to the other, and to the ends of intervals."""
    ends = reach(own, scale)
    axes.set_ylim(
        min(-0.03 * scale, float(ends.min(initial=0.0)) - 0.02 * scale),
        max(1.04 * scale, float(ends.max(initial=0.0)) + 0.02 * scale),
    )


def _draw_by(
    axes: Axes, own: Sequence[Series], places: Sequence[int], everywhere: Sequence[int], scale: float
) -> None:
    """Draw what is left after the last epoch against shots or models, one line an arm and learning rate."""
    colours = style.colours_of(entry.arm for entry in own)
    lines: dict[tuple[str, object], dict[int, Series]] = {}
    for entry, place in zip(own, places, strict=True):
        key = entry.arm, None if entry.chosen or not entry.learning_rates else entry.learning_rates[0]
        lines.setdefault(key, {})[place] = entry
    for (arm, rate), found in lines.items():
        at = [place for place in everywhere if place in found]
        means = scale * np.array([float(found[place].mean[-1]) for place in at])
        spreads = scale * np.array([float(found[place].std[-1]) for place in at])
        looks = line_style([other for name, other in lines if name == arm].index(rate))
        if arm in LEVEL_LINES:
            looks["linestyle"] = LEVEL_LINES[arm]
        name = arm if arm in (ICL, ZERO_SHOT) else f"{arm}, {'auto' if rate is None else f'{rate:g}'}"
        draw_points(axes, at, means, spreads, colours[arm], label=name + diverged(means), **looks)
