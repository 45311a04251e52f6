"""The papers' tables as bars, with the published numbers as lines across them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.names import PARTIAL, null_name
from . import style
from .figure_text import lines_of, short_name
from .intervals import BAR
from .panels import finish, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PARTITION_COLOURS: Mapping[str, str] = {
    "shared": style.MEASURE_COLOURS["SimAOU partial"],
    "ICL only": style.SETTING_COLOURS["icl"],
    "FT only": style.SETTING_COLOURS["ft"],
}
_NULLS: Mapping[str, str] = {
    "random": "gaussian",
    "permuted pairs": "permuted_pairs",
    "shared baseline": "shared_baseline",
}
"""What rows of tables call a null."""
# The first that a row's name holds.
_ROW_COLOURS: tuple[tuple[str, str], ...] = (
    *((words, style.NULL_COLOURS[kind]) for words, kind in _NULLS.items()),
    ("partial", style.MEASURE_COLOURS["SimAOU partial"]),
    ("clipped", style.RECIPE_COLOURS["shen_deep"]),
    ("layer-causal", style.RECIPE_COLOURS["barnatan_lcft"]),
    ("ZSL", style.SETTING_COLOURS["zsl"]),
    ("ICL", style.SETTING_COLOURS["icl"]),
    ("FT", style.SETTING_COLOURS["ft"]),
    ("Jaccard, correct", "#009e73"),
    ("Jaccard, incorrect", "#cc79a7"),
    ("Jaccard", "#56b4e9"),
    ("Rec2FTP", "#8c510a"),
)
_AVERAGE = "Average"
_PANEL_NAME = 84.0
"""Points that the name of a panel may be long, beside it."""


def experiment_title(result: Any) -> str:
    """Return what a figure of an experiment is about."""
    experiment = result.experiment
    return f"{experiment.paper} {experiment.name}, {result.config.scale} scale"


def shown_parts(result: Any, labels: Sequence[str]) -> list[str]:
    """Return what parts are called at an axis, with what stands for them at this scale."""
    shown = dict(result.tables["parts"][["part", "shown_as"]].itertuples(index=False))
    return [shown.get(label, label).replace("\n", " ") for label in labels]


def bar_figure(result: Any, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the rows of a table as bars beside each other, published numbers as lines across them.

    Args:
        result: An experiment, run.
        width: In inches.
    """
    columns = tuple(dict.fromkeys(entry.column for entry in result.measured))
    found: dict[str, list[str]] = {}
    for row in result.experiment.rows:
        found.setdefault(row.panel, []).append(row.label)
    with style.figure_style():
        made = panels(width, len(found), height=1.75, most=1, sharex=True)
        for axes, (panel, rows) in zip(made.axes, found.items(), strict=True):
            _bars(axes, result, rows, columns)
            axes.set_ylabel("\n".join(lines_of(panel, _PANEL_NAME, 7.5)))
            axes.axhline(0, color=style.INK, linewidth=0.7)
        _name_columns(made.axes[-1], shown_parts(result, columns))
        over = "draws" + ("; of the average, over parts" if _AVERAGE in columns else "")
        finish(
            made.figure,
            title=experiment_title(result),
            intervals=f"± one standard deviation over {over}",
            more=_published(result),
        )
    return made.figure


def accuracy_by_shots_figure(result: Any, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw accuracy by number of demonstrations as bars, published numbers as lines across them.

    Args:
        result: An experiment, run.
        width: In inches.
    """
    rows = tuple(dict.fromkeys(entry.row for entry in result.measured))
    columns = tuple(dict.fromkeys(entry.column for entry in result.measured))
    numbers = {(entry.row, entry.column): entry for entry in result.measured}
    bar = 0.8 / len(columns)
    reached = 1.0
    with style.figure_style():
        made = panels(width, 1, height=2.5)
        (axes,) = made.axes
        for place, column in enumerate(columns):
            x = np.arange(len(rows)) - 0.4 + bar * (place + 0.5)
            entries = [numbers[row, column] for row in rows]
            looks = {
                "color": style.NAMED_COLOURS["GD"],
                "alpha": 0.45 if place == 0 else 1.0,
                "label": column,
            }
            reached = max(reached, _draw_bars(axes, x, entries, bar, looks))
            _draw_published(axes, result, x, [(row, column) for row in rows], bar)
        _name_columns(axes, shown_parts(result, rows))
        axes.set(ylabel="accuracy of GD\nover the vocabulary", ylim=(0, 1.04 * reached))
        finish(
            made.figure,
            title=experiment_title(result),
            intervals="± one standard deviation over draws",
            more=_published(result),
        )
    return made.figure


def partition_figure(result: Any, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw how many predictions changed: shared, by ICL only, by finetuning only; paler: to a wrong label.

    Args:
        result: An experiment, run.
        width: In inches.
    """
    columns = tuple(result.studies)
    numbers = {(entry.row, entry.column): entry for entry in result.measured}
    rows = tuple(dict.fromkeys(entry.row for entry in result.measured))
    groups = tuple(dict.fromkeys(row.split(",")[0] for row in rows))
    bar = 0.8 / len(groups)
    with style.figure_style():
        made = panels(width, 1, height=2.6)
        (axes,) = made.axes
        for place, group in enumerate(groups):
            x = np.arange(len(columns)) - 0.4 + bar * (place + 0.5)
            base = np.zeros(len(columns))
            for row in (row for row in rows if row.startswith(group)):
                heights = np.array([numbers[row, column].value for column in columns])
                alpha = 0.4 if row.endswith("incorrect") else 1.0
                colour = _PARTITION_COLOURS[group]
                axes.bar(x, heights, 0.92 * bar, bottom=base, color=colour, alpha=alpha, label=row)
                base += heights
        _name_columns(axes, shown_parts(result, columns))
        axes.set(ylabel="changed predictions (queries)", ylim=(0, 1.06 * axes.get_ylim()[1]))
        about = f"{experiment_title(result)}: what ICL and finetuning change of the zero-shot predictions"
        finish(made.figure, title=about)
    return made.figure


def _bars(axes: Axes, result: Any, rows: Sequence[str], columns: Sequence[str]) -> None:
    bar = 0.8 / len(rows)
    numbers = {(entry.row, entry.column): entry for entry in result.measured}
    for place, row in enumerate(rows):
        x = np.arange(len(columns)) - 0.4 + bar * (place + 0.5)
        colour = row_colour(row, place)
        looks: dict[str, Any] = {"color": colour, "label": _row_name(row)}
        if any(words in row for words in _NULLS):
            looks = {"facecolor": "white", "edgecolor": colour, "hatch": "/////", "label": _row_name(row)}
        _draw_bars(axes, x, [numbers[row, column] for column in columns], bar, looks)
        _draw_published(axes, result, x, [(row, column) for column in columns], bar)


def _row_name(row: str) -> str:
    """Return what a row is of, whose measure its panel names: a setting, a way of finetuning, a null."""
    null = next((kind for words, kind in _NULLS.items() if words in row), None)
    if null is not None:
        return null_name(null)
    measure, inside, of = row.partition(" (")
    if not inside:
        return row
    return PARTIAL if "partial" in of and measure == "SimAOU" else of.removesuffix(")")


def _draw_bars(
    axes: Axes, x: np.ndarray, entries: Sequence[Any], bar: float, looks: Mapping[str, Any]
) -> float:
    """Draw bars with their spread, and return how high they reach."""
    values = np.array([entry.value for entry in entries], dtype=float)
    spread = np.nan_to_num(np.array([entry.std for entry in entries], dtype=float))
    axes.bar(x, values, 0.92 * bar, **looks)
    if spread.any():
        there = spread > 0
        low, high = (values - spread)[there], (values + spread)[there]
        axes.vlines(x[there], low, high, color=style.INK, linewidth=0.9).set_gid(BAR)
    return float(np.nanmax([*(values + spread), 0.0]))


def _draw_published(
    axes: Axes, result: Any, x: np.ndarray, places: Sequence[tuple[str, str]], bar: float
) -> None:
    for position, (row, column) in zip(x, places, strict=True):
        published = result.published(row, column)
        if published is not None:
            axes.hlines(published.value, position - bar / 2, position + bar / 2, color="black", linewidth=1.6)


def _published(result: Any) -> list[Any]:
    """Return what the legend says of published numbers, where there are any."""
    from matplotlib.lines import Line2D

    there = bool(result.experiment.published)
    return [Line2D([], [], color="black", linewidth=1.6, label="published")] if there else []


def _name_columns(axes: Axes, names: Sequence[str]) -> None:
    shown = [short_name(name, 28) for name in names]
    slanted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(names)), shown, parse_math=False, **slanted)
    axes.set_xlim(-0.55, len(names) - 0.45)
    axes.set_xlabel("part of the experiment")


def row_colour(row: str, place: int) -> str:
    """Return the colour of a row of a table: of the setting, recipe or null that its name holds."""
    found = (colour for part, colour in _ROW_COLOURS if re.search(rf"\b{re.escape(part)}\b", row))
    return next(found, list(style.series_colours(map(str, range(place + 1))).values())[-1])
