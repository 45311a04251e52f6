"""What updates do when they are given to the zero-shot run: by layer, by alpha, and at all attention outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import (
    ALL_ATTENTION,
    ALONG,
    GAUSSIAN_ALONG,
    GAUSSIAN_FT,
    GAUSSIAN_ICL,
    MEAN_FT,
    MEAN_ICL,
    MODEL_ITSELF,
    ONE_ATTENTION,
    OWN_FT,
    OWN_ICL,
    PERMUTED_ICL,
    REMAINDER,
    RESIDUAL_STREAM,
    UPDATE_NULLS,
)
from . import style
from .figure_text import short_name, subject_title
from .intervals import draw_band, draw_points, null_looks
from .panels import finish, panels
from .ticks import around, name_layers, room_for
from .transfer import update_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study
    from .panels import Panels

_OF_ICL = (OWN_ICL, MEAN_ICL, PERMUTED_ICL, GAUSSIAN_ICL)
_OF_FT = (OWN_FT, MEAN_FT, GAUSSIAN_FT)
_PARTS = (ALONG, REMAINDER, GAUSSIAN_ALONG)
_GROUPS: Sequence[tuple[str, tuple[str, ...]]] = (
    ("updates of ICL", _OF_ICL),
    ("updates of finetuning", _OF_FT),
    ("parts of the ICL update", _PARTS),
)
_FARTHEST = 3.0
"""What lies beyond it is far from zero-shot and from ICL."""
_MEASURED = ("closed", "closed_particular", "agreement")
_TITLES = {
    "closed": "closed of the way to ICL",
    "closed_particular": "… without what queries share",
    "agreement": "agrees with ICL",
}
_ROW = 0.19
_NAMES = 70.0
"""Points that the names of updates take left of a panel."""


def transfer_figures(study: Study) -> Mapping[str, Any]:
    """Return what draws each picture of a study.

    Args:
        study: A study of transfer.
    """
    sites = study.config.sites
    drawn: dict[str, Any] = {}
    if "residual" in sites:
        drawn["layers"] = residual_layers_figure
    if "attention_outputs" in sites:
        drawn["attention_outputs"] = attention_outputs_figure
        if len(set(study.config.alphas) - {0.0}) > 1:
            drawn["alpha"] = alpha_figure
    if "attention_output" in sites:
        drawn["single_layers"] = single_layers_figure
    return drawn


def residual_layers_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw how much updates to the residual stream close by layer, beside their nulls.

    Args:
        study: A study of transfer.
        width: In inches.
    """
    return _layers_figure(study, RESIDUAL_STREAM, "the residual stream after one layer", width)


def single_layers_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw how much updates to one layer's attention output close, beside their nulls.

    Args:
        study: A study of transfer.
        width: In inches.
    """
    return _layers_figure(study, ONE_ATTENTION, "one layer's attention output", width)


def _layers_figure(study: Study, place: str, what: str, width: float) -> Figure:
    transfer = study.tables["transfer"]
    shown = transfer[
        (transfer["place"] == place) & (transfer["measure"] == "closed") & (transfer["alpha"] == 1.0)
    ]
    layers = sorted({int(layer) for layer in shown["layer"]})
    panel_rows = list(_panels(study, shown))
    with style.figure_style():
        made = panels(width, len(panel_rows), height=2.1, least=1.9, sharey=True)
        for axes, (_, rows) in zip(made.axes, panel_rows, strict=True):
            for update, found in _by_update(rows):
                by_layer = found.set_index("layer").sort_index()
                _line(axes, by_layer.index.to_numpy(dtype=int), by_layer, update)
            _levels(axes)
            axes.set(xlabel="layer", xlim=around(layers))
            name_layers(axes.xaxis, layers, most=room_for(layers, made.points))
        _finish_lines(study, made, [heading for heading, _ in panel_rows], shown, what)
    return made.figure


def alpha_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw how much updates of all attention outputs close against what they are multiplied by.

    Args:
        study: A study of transfer.
        width: In inches.
    """
    transfer = study.tables["transfer"]
    shown = transfer[(transfer["place"] == ALL_ATTENTION) & (transfer["measure"] == "closed")]
    panel_rows = list(_panels(study, shown))
    zero = 0.0 in study.config.alphas
    with style.figure_style():
        made = panels(width, len(panel_rows), height=2.1, least=1.9, sharey=True)
        for axes, (_, rows) in zip(made.axes, panel_rows, strict=True):
            for update, found in _by_update(rows):
                by_alpha = found.set_index("alpha")[["value", "low", "high"]].astype(float)
                if zero:
                    # Zero-shot, whatever the update; undefined ones have no line to begin.
                    by_alpha.loc[0.0] = 0.0 if by_alpha["value"].notna().any() else np.nan
                by_alpha = by_alpha.sort_index()
                _line(axes, by_alpha.index.to_numpy(dtype=float), by_alpha, update)
            _levels(axes)
            axes.set(xlabel="alpha", xticks=sorted(study.config.alphas))
        _finish_lines(study, made, [heading for heading, _ in panel_rows], shown, ALL_ATTENTION)
    return made.figure


def _finish_lines(study: Study, made: Panels, headings: list[str], shown: Frame, what: str) -> None:
    """Put around panels of lines what all of them have: room, names and notes."""
    _fit(made.axes[0], shown)
    for axes in made.left:
        axes.set_ylabel("closed")
    made.title(headings)
    finish(
        made.figure,
        title=f"{_title(study)}: given to {what}",
        notes=_notes(study, shown),
        intervals=_interval(study),
    )


def attention_outputs_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw what every update does at all attention outputs at once: closed, its particular form, agreement.

    Args:
        study: A study of transfer.
        width: In inches.
    """
    transfer = study.tables["transfer"]
    shown = transfer[(transfer["alpha"] == 1.0) & transfer["place"].isin([MODEL_ITSELF, ALL_ATTENTION])]
    several = len(study.config.recipes) > 1
    shown = shown.assign(name=update_names(shown, several))
    names = list(dict.fromkeys(shown["name"]))
    updates = dict(zip(shown["name"], shown["update"], strict=True))
    with style.figure_style():
        made = panels(width, len(_MEASURED), height=0.7 + _ROW * len(names), least=2.0)
        for axes, measure in zip(made.axes, _MEASURED, strict=True):
            rows = shown[shown["measure"] == measure].set_index("name").loc[names]
            for place, (name, row) in enumerate(rows.iterrows()):
                value, low, high = (float(row[column]) for column in ("value", "low", "high"))
                if value != value:
                    continue
                bars = np.clip([[value - low], [high - value]], 0, None) if low == low else [[0.0], [0.0]]
                update = updates[str(name)]
                looks = {"markerfacecolor": "white"} if update in UPDATE_NULLS else {}
                colour = style.UPDATE_COLOURS[update]
                draw_points(axes, [place], [value], bars, colour, across=True, **looks)
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.grid(visible=True, axis="x")
            axes.grid(visible=False, axis="y")
            axes.set(xlabel="share" if measure == "agreement" else "closed")
            if measure != "agreement":
                _levels(axes, across=True)
                _fit(axes, rows, across=True)
        most = 34 if width > 1.5 * style.ONE_COLUMN else 20
        for axes in made.axes:
            shown_names = names if axes in made.left else [""] * len(names)
            shown_names = [short_name(name, most) for name in shown_names]
            axes.set_yticks(range(len(names)), shown_names, parse_math=False)
        made.title([_TITLES[measure] for measure in _MEASURED], _NAMES if made.columns == 1 else 0)
        finish(
            made.figure,
            title=f"{_title(study)}: given to {ALL_ATTENTION}",
            notes=_notes(study, shown[shown["measure"].isin(_MEASURED)]),
            intervals=_interval(study),
        )
    return made.figure


def _panels(study: Study, shown: Frame) -> list[tuple[str, Frame]]:
    """Return the panels of a figure: updates of ICL, and of each recipe's finetuning and the parts it makes."""
    found: list[tuple[str, Frame]] = []
    recipes = [str(name) for name in dict.fromkeys(shown["recipe"].dropna())]
    for heading, updates in _GROUPS:
        rows = shown[shown["update"].isin(updates)]
        if updates is _OF_ICL:
            found.append((heading, rows))
            continue
        for recipe in recipes:
            name = f"{heading} ({recipe})" if len(recipes) > 1 else heading
            found.append((name, rows[rows["recipe"] == recipe]))
    return found


def _by_update(rows: Frame) -> list[tuple[str, Frame]]:
    return [(update, rows[rows["update"] == update]) for update in dict.fromkeys(rows["update"])]


def _line(axes: Axes, places: Any, rows: Frame, update: str) -> None:
    colour = style.UPDATE_COLOURS[update]
    value, low, high = (rows[column].to_numpy(dtype=float) for column in ("value", "low", "high"))
    draw_band(axes, places, low, high, colour)
    looks: dict[str, Any] = {"color": colour, "marker": "o", "label": update}
    axes.plot(places, value, **(null_looks(**looks) if update in UPDATE_NULLS else looks))


def _levels(axes: Axes, *, across: bool = False) -> None:
    """Mark zero-shot and ICL."""
    for level in (0, 1):
        line = axes.axvline if across else axes.axhline
        line(level, color=style.INK, linewidth=0.7, zorder=1)


def _far(rows: Frame) -> bool:
    """Return whether something lies so far from both that a linear scale would show nothing else."""
    values = rows[["value", "low", "high"]].to_numpy(dtype=float)
    return bool((np.abs(values[np.isfinite(values)]) > _FARTHEST).any())


def _fit(axes: Axes, rows: Frame, *, across: bool = False) -> None:
    """Let a scale be logarithmic beyond 1 and -1 where something lies far from both zero-shot and ICL."""
    if not _far(rows):
        return
    values = rows[["value", "low", "high"]].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    farthest = float(np.abs(values).max())
    beyond = [10.0**power for power in range(1, 12)] if farthest >= 10 else [3.0]
    ticks = [-tick for tick in beyond if -tick >= values.min()]
    ticks += [-1.0, 0.0, 1.0, *(tick for tick in beyond if tick <= values.max())]
    names = [f"{tick:g}".replace("-", "\N{MINUS SIGN}") for tick in ticks]
    if across:
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks(ticks, names)
        axes.set_xticks([], minor=True)
    else:
        axes.set_yscale("symlog", linthresh=1)
        axes.set_yticks(ticks, names)
        axes.set_yticks([], minor=True)


def _title(study: Study) -> str:
    shots = study.config.shots
    return f"{subject_title(study.config)}, {shots} shot{'s' * (shots > 1)}"


def _interval(study: Study) -> str:
    queries = study.tables["queries"].groupby("seed").size().iloc[0]
    return f"{100 * study.config.level:g}% interval over {queries} queries"


def _notes(study: Study, rows: Frame) -> list[str]:
    draws = len(study.config.seeds)
    over = "one draw of demonstrations" if draws == 1 else f"mean over {draws} draws of demonstrations"
    return [
        over,
        "0: zero-shot's answers, 1: those of ICL, in centred label log-probabilities",
        "logarithmic beyond 1 and -1" if _far(rows) else "",
    ]
