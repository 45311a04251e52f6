"""The figures of a comparison: measures by layer, and SimAM by layer and head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..study.names import DELTA, PARTIAL, null_name
from . import style
from .figure_text import subject_title
from .heatmap import add_colour_bar, draw_heatmap, height_of_rows, name_cells
from .intervals import draw_band, null_looks, spread_words
from .panels import finish, panels
from .ticks import around, name_layers, room_for

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
    return f"{subject_title(study.config)}, {shots} shot{'s' * (shots > 1)}"


def layer_profile_of(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw SimAOU and SimAM by layer, with their intervals and nulls.

    Args:
        study: A study of one comparison.
        width: In inches.
    """
    draws = study.tables["draws"]
    if len(draws) == 1:
        intervals = f"{100 * study.config.level:g}% interval over {draws['queries'].iloc[0]} queries"
        note = "one draw of demonstrations"
    else:
        intervals, note = spread_words(len(draws)), f"mean over {len(draws)} draws of demonstrations"
    return layer_profile_figure(
        study.tables["layers"], title=figure_title(study), intervals=intervals, note=note, width=width
    )


def layer_profile_figure(
    layers: Frame,
    *,
    title: str = "",
    intervals: str = "interval",
    note: str = "",
    width: float = style.TWO_COLUMNS,
) -> Figure:
    """Draw SimAOU and its partial form with their nulls, and SimAM before, after and of the changes, by layer.

    Bands are bootstrap intervals for one draw of demonstrations, and one standard deviation over several. A layer
    in which a measure is undefined has no point.

    Args:
        layers: One row a draw of one comparison, layer and measure, with ``value``, ``low`` and ``high``.
        title: What the figure is about.
        intervals: What the bands are.
        note: What stands below.
        width: In inches.
    """
    drawn = sorted(set(layers["layer"].tolist()))
    profiles = {str(name): _band(found) for name, found in layers.groupby("measure", sort=False)}
    with style.figure_style():
        made = panels(width, len(_PANELS), height=2.1)
        for axes, (_, label, start) in zip(made.axes, _PANELS, strict=True):
            _profile_panel(axes, {name: band for name, band in profiles.items() if _panel_of(name) == start})
            axes.set(ylabel=label, xlabel="layer", xlim=around(drawn))
            name_layers(axes.xaxis, drawn, most=room_for(drawn, made.points))
        made.title([heading for heading, *_ in _PANELS])
        finish(made.figure, title=title, intervals=intervals, notes=[note])
    return made.figure


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
        drawn = band.index.to_numpy(dtype=int).tolist()
        value, low, high = (band[column].to_numpy(dtype=float) for column in ("value", "low", "high"))
        measure, _, null = name.partition(", null ")
        colour = style.NULL_COLOURS[null] if null else style.MEASURE_COLOURS[measure]
        draw_band(axes, drawn, low, high, colour)
        looks: dict[str, Any] = {"color": colour, "marker": "o" if len(drawn) <= _MOST_MARKERS else ""}
        axes.plot(
            drawn,
            value,
            label=null_name(null) if null else _short_name(name),
            **(null_looks(**looks) if null else looks),
        )
    axes.axhline(0, color=style.INK, linewidth=0.7, zorder=1)


def _short_name(name: str) -> str:
    return "SimAM of the changes" if name == DELTA else name


def heads_of(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw SimAM by layer and head, before and after finetuning and of the changes.

    Args:
        study: A study of one comparison.
        width: In inches.
    """
    return head_heatmap_figure(study.tables["heads"], title=figure_title(study), width=width)


def head_heatmap_figure(heads: Frame, *, title: str = "", width: float = style.TWO_COLUMNS) -> Figure:
    """Draw SimAM before finetuning, after it, and of the changes, by layer and head on one scale.

    Several draws are averaged. Cells in which no example has a value are hatched.

    Args:
        heads: One row a draw of one comparison, layer, head and measure.
        title: What the figure is about.
        width: In inches.
    """
    maps: dict[str, Frame] = {
        str(name): found.pivot_table(index="layer", columns="head", values="value", dropna=False)
        for name, found in heads.groupby("measure", sort=False)
    }
    layers = maps[DELTA].index.to_numpy(dtype=int)
    draws = heads["seed"].nunique()
    with style.figure_style():
        made = panels(width, len(maps), height=height_of_rows(len(layers)))
        image: Any = None
        for axes, values in zip(made.axes, maps.values(), strict=True):
            image = draw_heatmap(axes, values.to_numpy(dtype=float), -1, 1, style.DIVERGING_COLOURS)
            name_cells(axes, layers, values.columns.to_numpy(dtype=int), made.points)
            axes.set(xlabel="head")
        for axes in made.left:
            axes.set_ylabel("layer")
        made.title([name.removeprefix("SimAM ").removeprefix("of the ") for name in maps])
        add_colour_bar(made.figure, image, made.axes, "SimAM (cosine)")
        notes = [f"mean over {draws} draws of demonstrations"] if draws > 1 else []
        if any(values.isna().any(axis=None) for values in maps.values()):
            notes.append("hatched: undefined (scores are all zero, or their changes only rounding)")
        finish(made.figure, title=title, notes=notes)
    return made.figure
