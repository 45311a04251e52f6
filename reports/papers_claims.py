"""The claims of both papers as a sheet and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..study.sheet import Block, Cell, Sheet, sheet_of
from . import style
from .numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.columns import Frame
    from ..study.study import Study

_VERDICT_COLOURS = {"holds": "#009e73", "fails": "#d55e00", "undecided": "#6e6e6e"}
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


def claims_figure(study: Study) -> Figure:
    """Draw each effect with its interval, in units of its distance to the criterion, coloured by the verdict.

    Args:
        study: The claims, judged.
    """
    claims = study.tables["claims"]
    groups = [(str(paper), group) for paper, group in claims.groupby("paper", sort=False)]
    with style.figure_style():
        figure = style.new_figure(10.4, 1.4 + 0.26 * len(claims))
        panels = figure.subplots(
            len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": [len(group) for _, group in groups]}
        )[:, 0]
        start = 1
        for axes, (paper, group) in zip(panels, groups, strict=True):
            _panel(axes, group, start)
            axes.set_title(paper, loc="left")
            start += len(group)
        panels[-1].set_xlabel(
            "95% interval of each effect, on its own scale; right of the black line, or between two, the claim holds"
        )
        for verdict, colour in _VERDICT_COLOURS.items():
            panels[0].plot([], [], "o", color=colour, label=verdict)
        panels[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
        figure.suptitle(f"claims of both papers, {study.config.scale} scale")
    return figure


def _panel(axes: Axes, group: Frame, start: int) -> None:
    for place, claim in enumerate(group.itertuples(index=False)):
        bounds = [bound for bound in (claim.above, claim.below) if not np.isnan(bound)]
        if np.isnan(claim.value):
            axes.text(0, place, "not measured", va="center", ha="center", fontsize=7, color="#6e6e6e")
            continue
        ends = [end for end in (claim.low, claim.high) if not np.isnan(end)] or [claim.value]
        # Every row has its own unit: it is drawn from -1 to 1 around its criterion, what is claimed to the right.
        centre = sum(bounds) / len(bounds)
        scale = max(abs(value - centre) for value in (*ends, claim.value, *bounds)) or 1.0
        if np.isnan(claim.above):
            scale = -scale
        colour = _VERDICT_COLOURS[claim.verdict]
        low, value, high = ((end - centre) / scale for end in (min(ends), claim.value, max(ends)))
        axes.hlines(place, low, high, color=colour, linewidth=3, alpha=0.5)
        axes.plot(value, place, "o", color=colour)
        for bound in bounds:
            x = (bound - centre) / scale
            axes.vlines(x, place - 0.35, place + 0.35, color="black", linewidth=1.2)
    names = [f"{start + place} {_short(text)}" for place, text in enumerate(group["measured_as"])]
    axes.set_yticks(range(len(group)), names)
    axes.set(xlim=(-1.1, 1.1), ylim=(len(group) - 0.5, -0.5))
    axes.set_xticks([-0.8, 0, 0.8], ["against the claim", "criterion", "as claimed"])
    axes.grid(visible=False)


def _short(text: str) -> str:
    return text if len(text) <= 72 else text[:71] + "…"
