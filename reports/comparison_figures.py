"""The figures of a comparison: measures by layer, and SimAM by layer and head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..study.names import DELTA, PARTIAL
from . import style
from .heatmap import draw_heatmap, layer_ticks, whole_number_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_MOST_MARKERS = 40
# Title and axis of each panel, and what the names of its measures begin with.
_PANELS = (
    ("attention output updates", "SimAOU (cosine)", "SimAOU"),
    ("… particular to the query", f"{PARTIAL} (cosine)", PARTIAL),
    ("attention scores", "SimAM (cosine)", "SimAM"),
)


def figure_title(study: Study) -> str:
    """Return what a figure of one comparison is about: the model's own name, the task and the number of shots."""
    (shots,) = study.config.shots
    return f"{subject_title(study)}, {shots} shot{'s' * (shots > 1)}"


def subject_title(study: Study) -> str:
    """Return what a figure is about, in short: the model's own name and the task."""
    return f"{study.config.model.rstrip('/').rsplit('/', 1)[-1]} on {study.config.task}"


def layer_profile_of(study: Study) -> Figure:
    """Draw a study's similarities with their nulls, by layer.

    Args:
        study: A study of one comparison.
    """
    draws = study.tables["draws"]
    if len(draws) == 1:
        note = (
            f"bands: {100 * study.config.level:g}% bootstrap over {draws['queries'].iloc[0]} queries, "
            "for this one draw of demonstrations"
        )
    else:
        note = f"lines: mean over {len(draws)} draws of demonstrations; bands: ± one standard deviation"
    return layer_profile_figure(study.tables["layers"], title=figure_title(study), note=note)


def layer_profile_figure(layers: Frame, *, title: str = "", note: str = "") -> Figure:
    """Draw SimAOU and its partial form with their nulls, and SimAM before, after and of the changes, by layer.

    Bands are bootstrap intervals for one draw of demonstrations, and one standard deviation over several. A layer
    in which a measure is undefined has no point.

    Args:
        layers: One row a draw of one comparison, layer and measure, with ``value``, ``low`` and ``high``.
        title: What the figure is about.
        note: What stands below.
    """
    profiles = {str(name): _band(found) for name, found in layers.groupby("measure", sort=False)}
    with style.figure_style():
        figure = style.new_figure(12.0, 4.1)
        panels = figure.subplots(1, 3)
        for axes, (heading, label, start) in zip(panels, _PANELS, strict=True):
            _profile_panel(axes, {name: band for name, band in profiles.items() if _panel_of(name) == start})
            axes.set(title=heading, ylabel=label)
        if title:
            figure.suptitle(title)
        figure.supxlabel(note, fontsize=8, color="#555555")
    return figure


def _panel_of(name: str) -> str:
    """Return the longest beginning of a measure's name that is a panel's, or nothing."""
    return max((start for *_, start in _PANELS if name.startswith(start)), key=len, default="")


def _band(found: Frame) -> Frame:
    """Return value, low and high of one measure by layer: its own, or mean and mean ± deviation over draws."""
    if found["seed"].nunique() == 1:
        return found.set_index("layer")[["value", "low", "high"]].sort_index()
    by_layer = found.groupby("layer")["value"]
    mean, std = by_layer.mean(), by_layer.std()
    return mean.to_frame().assign(low=mean - std, high=mean + std)


def _profile_panel(axes: Axes, profiles: dict[str, Frame]) -> None:
    for name, band in profiles.items():
        layers = band.index.to_numpy(dtype=int)
        value, low, high = (band[column].to_numpy(dtype=float) for column in ("value", "low", "high"))
        colour = style.MEASURE_COLOURS.get(name, style.OTHER_COLOUR)
        axes.fill_between(layers, low, high, color=colour, alpha=0.18, linewidth=0)
        if len(layers) == 1:  # A band has no width there.
            axes.vlines(layers, low, high, color=colour, alpha=0.5)
        axes.plot(
            layers,
            value,
            color=colour,
            marker="o" if len(layers) <= _MOST_MARKERS else "",
            linestyle="--" if ", null " in name else "-",
            label=_short_name(name),
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


def heads_of(study: Study) -> Figure:
    """Draw a study's SimAM by layer and head.

    Args:
        study: A study of one comparison.
    """
    return head_heatmap_figure(study.tables["heads"], title=figure_title(study))


def head_heatmap_figure(heads: Frame, *, title: str = "") -> Figure:
    """Draw SimAM before finetuning, after it, and of the changes, by layer and head on one scale.

    Several draws are averaged. Cells in which no example has a value are hatched.

    Args:
        heads: One row a draw of one comparison, layer, head and measure.
        title: What the figure is about.
    """
    maps: dict[str, Frame] = {
        str(name): found.pivot_table(index="layer", columns="head", values="value", dropna=False)
        for name, found in heads.groupby("measure", sort=False)
    }
    n_layers, n_heads = maps[DELTA].shape
    width = min(13.0, max(7.5, 2.4 + 3 * 0.16 * n_heads))
    height = min(9.0, max(3.4, 1.7 + 0.16 * n_layers))
    draws = heads["seed"].nunique()
    with style.figure_style():
        figure = style.new_figure(width, height)
        panels = figure.subplots(1, len(maps), sharey=True)
        image: Any = None
        for axes, (name, values) in zip(panels, maps.items(), strict=True):
            image = draw_heatmap(axes, values.to_numpy(dtype=float), -1, 1, style.DIVERGING_COLOURS)
            axes.set(title=_short_name(name), xlabel="head")
        layer_ticks(panels[0], maps[DELTA].index.to_numpy(dtype=int))
        panels[0].set_ylabel("layer")
        figure.colorbar(image, ax=list(panels), label="SimAM (cosine)", fraction=0.05, pad=0.02)
        if title:
            figure.suptitle(title)
        notes = [f"mean over {draws} draws of demonstrations"] if draws > 1 else []
        if any(values.isna().any(axis=None) for values in maps.values()):
            notes.append("hatched: undefined (scores are all zero, or their changes only rounding)")
        if notes:
            figure.supxlabel("; ".join(notes), fontsize=8, color="#555555")
    return figure
