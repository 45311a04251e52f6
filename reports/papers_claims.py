"""The claims of both papers as a sheet and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..study.sheet import Block, Cell, Sheet, sheet_of
from . import style
from .figure_text import short_name
from .intervals import BAR
from .numbers import number
from .panels import finish, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_ROW, _CHARACTERS = 0.165, 7.5
"""Inches of a row, and characters of its name by inches of the figure."""
_NOTES = (
    "holds: the whole 95% interval meets the criterion; fails: none of it does; undecided: part of it does, or "
    "there is no interval. Intervals over draws are of few draws and so wide; thresholds are this toolkit's.",
)


def claims_sheet(study: Study) -> Sheet:
    """Return the claims: the sentence, what was measured, and the verdict on the model at hand.

    Args:
        study: The claims, judged.
    """
    rows: list[tuple[str, tuple[Cell, ...]]] = []
    for place, claim in enumerate(study.tables["claims"].itertuples(index=False), 1):
        sentence = f"“{claim.quote}” ({claim.paper} §{claim.section})"
        measured = f"{claim.measured_as} ({claim.experiments.replace(' ', ', ')})"
        told = "not run" if claim.basis == "not run" else f"{_interval(claim)}; {claim.basis}"
        rows.append(
            (f"{place} {claim.verdict}", ((sentence,), (f"{measured}: {told}, holds if {claim.criterion}",)))
        )
    return sheet_of(study, (Block("verdict", ("claim", "measured"), tuple(rows)),), _NOTES)


def _interval(claim: Frame) -> str:
    value = number(claim.value)
    return (
        f"{value} {claim.unit}"
        if claim.low != claim.low
        else f"{value} [{claim.low:.3g}, {claim.high:.3g}] {claim.unit}"
    )


def claims_figure(study: Study, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw each claim's effect with its interval, around its criterion, coloured by the verdict.

    Args:
        study: The claims, judged.
        width: In inches.
    """
    from matplotlib.lines import Line2D

    claims = study.tables["claims"]
    groups = [(str(paper), group) for paper, group in claims.groupby("paper", sort=False)]
    longest = int(width * _CHARACTERS)
    with style.figure_style():
        ratios = [len(group) + 1.5 for _, group in groups]
        height = sum(_ROW * len(group) + 0.55 for _, group in groups) / len(groups)
        made = panels(width, len(groups), height=height, most=1, height_ratios=ratios)
        start = 1
        for axes, (_, group) in zip(made.axes, groups, strict=True):
            _panel(axes, group, start, longest, wide=width > style.ONE_COLUMN * 1.5)
            start += len(group)
        made.title([paper for paper, _ in groups])
        for axes in made.axes:
            axes.set_xlabel("effect (on its own scale)")
        verdicts = [
            Line2D([], [], marker="o", markersize=4, linestyle="none", color=colour, label=verdict)
            for verdict, colour in style.VERDICT_COLOURS.items()
        ]
        finish(
            made.figure,
            title=f"claims of both papers, {study.config.scale} scale",
            intervals="95% interval",
            more=verdicts,
            notes=["right of the black line, the criterion, or between two, the claim holds"],
        )
    return made.figure


def _panel(axes: Axes, group: Frame, start: int, longest: int, *, wide: bool) -> None:
    for place, claim in enumerate(group.itertuples(index=False)):
        bounds = [bound for bound in (claim.above, claim.below) if not np.isnan(bound)]
        if np.isnan(claim.value):
            axes.text(
                0, place, "not measured", va="center", ha="center", fontsize=6, color=style.UNREMARKABLE
            )
            continue
        ends = [end for end in (claim.low, claim.high) if not np.isnan(end)] or [claim.value]
        # Every row has its own unit: it is drawn from -1 to 1 around its criterion, what is claimed to the right.
        centre = sum(bounds) / len(bounds)
        scale = max(abs(value - centre) for value in (*ends, claim.value, *bounds)) or 1.0
        if np.isnan(claim.above):
            scale = -scale
        colour = style.VERDICT_COLOURS[claim.verdict]
        low, value, high = ((end - centre) / scale for end in (min(ends), claim.value, max(ends)))
        if low != high:
            axes.hlines(place, low, high, color=colour, linewidth=2.5, alpha=0.5).set_gid(BAR)
        axes.plot(value, place, "o", color=colour)
        for bound in bounds:
            x = (bound - centre) / scale
            axes.vlines(x, place - 0.35, place + 0.35, color="black", linewidth=1.2)
    names = [
        f"{start + place} {short_name(text, longest)}" for place, text in enumerate(group["measured_as"])
    ]
    axes.set_yticks(range(len(group)), names, fontsize=6.5, parse_math=False)
    axes.set(xlim=(-1.1, 1.1), ylim=(len(group) - 0.5, -0.5))
    axes.set_xticks([-0.8, 0, 0.8], ["against", "criterion", "as claimed"] if wide else ["−", "0", "+"])
    axes.grid(visible=False)
