"""The figures of a comparison: measures by layer, and SimAM by layer and head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..analyses.comparison.draw import Draw
from ..analyses.comparison.measures import (
    PARTIAL,
    Intervals,
    LayerProfile,
    head_profiles_of,
    layer_profiles_of,
)
from ..analyses.configuration import CompareConfig
from ..probes import mean_and_std
from . import style
from .heatmap import draw_heatmap, layer_ticks, whole_number_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_MARKERS = 40
# Title and axis of each panel, and what the names of its measures begin with.
_PANELS = (
    ("attention output updates", "SimAOU (cosine)", "SimAOU"),
    ("… particular to the query", f"{PARTIAL} (cosine)", PARTIAL),
    ("attention scores", "SimAM (cosine)", "SimAM"),
)


def figure_title(config: CompareConfig) -> str:
    """Return what a figure is about, in short: the model's own name, the task and the number of shots."""
    model = config.model.rstrip("/").rsplit("/", 1)[-1]
    return f"{model} on {config.task}, {config.shots} shot{'s' * (config.shots > 1)}"


def layer_profile_figure(draws: Sequence[Draw], intervals: Intervals, *, title: str = "") -> Figure:
    """Draw SimAOU and its partial form with their nulls, and SimAM before, after and of the changes, by layer.

    Bands are bootstrap intervals for one draw of demonstrations, and one standard deviation over several. A layer
    in which a measure is undefined has no point.

    Args:
        draws: One or more draws of the same model.
        intervals: How the bands of a single draw are made.
        title: What the figure is about, see `figure_title`.
    """
    layers = np.array(draws[0].layers)
    bands = [_band(column) for column in zip(*(layer_profiles_of(d, intervals) for d in draws), strict=True)]
    with style.figure_style():
        figure = style.new_figure(12.0, 4.1)
        panels = figure.subplots(1, 3)
        for axes, (heading, label, start) in zip(panels, _PANELS, strict=True):
            _profile_panel(axes, layers, [band for band in bands if _panel_of(band.name) == start])
            axes.set(title=heading, ylabel=label)
        if title:
            figure.suptitle(title)
        figure.supxlabel(_band_note(draws, intervals), fontsize=8, color="#555555")
    return figure


def _panel_of(name: str) -> str:
    """Return the longest beginning of a measure's name that is a panel's, or nothing."""
    return max((start for *_, start in _PANELS if name.startswith(start)), key=len, default="")


def _band(profiles: Sequence[LayerProfile]) -> LayerProfile:
    """Return the profile itself, or mean and mean ± standard deviation over several draws."""
    if len(profiles) == 1:
        return profiles[0]
    spread = mean_and_std(torch.stack([profile.value for profile in profiles]))
    return LayerProfile(
        name=profiles[0].name,
        value=spread.mean,
        low=spread.mean - spread.std,
        high=spread.mean + spread.std,
        defined=torch.stack([profile.defined for profile in profiles]).sum(0),
        of=sum(profile.of for profile in profiles),
    )


def _profile_panel(axes: Axes, layers: np.ndarray, profiles: Iterable[LayerProfile]) -> None:
    order = np.argsort(layers)
    marker = "o" if len(layers) <= _MOST_MARKERS else ""
    for profile in profiles:
        colour = style.MEASURE_COLOURS.get(profile.name, style.OTHER_COLOUR)
        value, low, high = (part.numpy()[order] for part in (profile.value, profile.low, profile.high))
        is_null = ", null " in profile.name
        axes.fill_between(layers[order], low, high, color=colour, alpha=0.18, linewidth=0)
        if len(layers) == 1:  # A band has no width there.
            axes.vlines(layers, low, high, color=colour, alpha=0.5)
        axes.plot(
            layers[order],
            value,
            color=colour,
            marker=marker,
            linestyle="--" if is_null else "-",
            label=_short_name(profile.name),
        )
    axes.axhline(0, color="#333333", linewidth=0.7, zorder=1)
    whole_number_ticks(axes.xaxis)
    axes.set_xlabel("layer")
    axes.margins(x=0.03)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, columnspacing=1.2, handlelength=2.4)


def _short_name(name: str) -> str:
    name, _, null = name.partition(", null ")
    if null:
        return f"null: {null.replace('_', ' ')}"
    if name.startswith("SimAOU"):
        return "measured"
    return name.removeprefix("SimAM ").removeprefix("of the ")


def _band_note(draws: Sequence[Draw], intervals: Intervals) -> str:
    if len(draws) == 1:
        return (
            f"bands: {100 * intervals.level:g}% bootstrap over {len(draws[0].gold)} queries, "
            "for this one draw of demonstrations"
        )
    return f"lines: mean over {len(draws)} draws of demonstrations; bands: ± one standard deviation"


def head_heatmap_figure(draws: Sequence[Draw], *, title: str = "") -> Figure:
    """Draw SimAM before finetuning, after it, and of the changes, by layer and head on one scale.

    Several draws are averaged. Cells in which no example has a value are hatched.

    Args:
        draws: One or more draws of the same model.
        title: What the figure is about, see `figure_title`.
    """
    layers = np.array(draws[0].layers)
    order = np.argsort(layers)
    maps = {
        name: torch.stack([head_profiles_of(draw)[name] for draw in draws]).nanmean(0).numpy()[order]
        for name in head_profiles_of(draws[0])
    }
    n_layers, n_heads = next(iter(maps.values())).shape
    width = min(13.0, max(7.5, 2.4 + 3 * 0.16 * n_heads))
    height = min(9.0, max(3.4, 1.7 + 0.16 * n_layers))
    undefined = any(bool(np.isnan(values).any()) for values in maps.values())
    with style.figure_style():
        figure = style.new_figure(width, height)
        panels = figure.subplots(1, len(maps), sharey=True)
        image: Any = None
        for axes, (name, values) in zip(panels, maps.items(), strict=True):
            image = draw_heatmap(axes, values, -1, 1, style.DIVERGING_COLOURS)
            axes.set(title=_short_name(name), xlabel="head")
        layer_ticks(panels[0], layers[order])
        panels[0].set_ylabel("layer")
        figure.colorbar(image, ax=list(panels), label="SimAM (cosine)", fraction=0.05, pad=0.02)
        if title:
            figure.suptitle(title)
        notes = [f"mean over {len(draws)} draws of demonstrations"] if len(draws) > 1 else []
        if undefined:
            notes.append("hatched: undefined (scores are all zero, or their changes only rounding)")
        if notes:
            figure.supxlabel("; ".join(notes), fontsize=8, color="#555555")
    return figure
