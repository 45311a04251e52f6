"""The claims of both papers as a table and as a figure."""

from __future__ import annotations

import math
from collections import Counter
from textwrap import TextWrapper
from typing import TYPE_CHECKING

from ..analyses.papers.footnotes import FOOTNOTES, POCKET
from . import style
from .plain_table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..analyses.papers.claims import ClaimsStudy, Judged

_WIDTH = 100
_VERDICT_COLOURS = {"holds": "#009e73", "fails": "#d55e00", "undecided": "#6e6e6e"}


def claims_text(study: ClaimsStudy) -> str:
    """Return the claims as text: the sentence, what was measured, and the verdict on the model at hand.

    Args:
        study: The claims, judged.
    """
    from ..analyses.papers.claims import criterion_of

    counts = Counter(entry.verdict for entry in study.judged)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _VERDICT_COLOURS)
    lines = [
        f"{len(study.judged)} claims on {', '.join(study.models)} ({study.config.scale} scale): {said}",
        "",
    ]
    for index, entry in enumerate(study.judged, 1):
        claim, effect = entry.claim, entry.effect
        lines += _wrapped(
            f"“{claim.quote}” ({claim.paper} §{claim.section})", f"{index:>2} {entry.verdict:<9} "
        )
        measured = "not run" if effect is None else f"{_interval(entry)}; {effect.basis}"
        lines += _wrapped(
            f"{claim.measured_as} ({', '.join(claim.experiments)}), holds if {criterion_of(claim)}: {measured}",
            " " * 13,
        )
    lines += [
        "",
        "holds: the whole 95% interval meets the criterion; fails: none of it does; undecided: part of it does, or",
        "there is no interval. Intervals over draws are of few draws and so wide; thresholds are this toolkit's.",
    ]
    if study.config.scale == "pocket":
        lines += _wrapped(FOOTNOTES[POCKET], f"[{POCKET}] ")
    return "\n".join(lines)


def claims_figure(study: ClaimsStudy) -> Figure:
    """Draw each effect with its interval, in units of its distance to the criterion, coloured by the verdict.

    Args:
        study: The claims, judged.
    """
    papers = tuple(dict.fromkeys(entry.claim.paper for entry in study.judged))
    groups = [[entry for entry in study.judged if entry.claim.paper == paper] for paper in papers]
    with style.figure_style():
        figure = style.new_figure(10.4, 1.4 + 0.26 * len(study.judged))
        panels = figure.subplots(
            len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": [len(group) for group in groups]}
        )[:, 0]
        start = 1
        for axes, paper, group in zip(panels, papers, groups, strict=True):
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


def _panel(axes: Axes, group: list[Judged], start: int) -> None:
    from ..analyses.papers.claims import criterion_of

    for place, entry in enumerate(group):
        criterion = criterion_of(entry.claim)
        bounds = [bound for bound in (criterion.above, criterion.below) if not math.isinf(bound)]
        if entry.effect is None or math.isnan(entry.effect.value):
            axes.text(0, place, "not measured", va="center", ha="center", fontsize=7, color="#6e6e6e")
            continue
        effect = entry.effect
        ends = [end for end in (effect.low, effect.high) if not math.isnan(end)] or [effect.value]
        # Every row has its own unit: it is drawn from -1 to 1 around its criterion, what is claimed to the right.
        centre = sum(bounds) / len(bounds)
        scale = max(abs(value - centre) for value in (*ends, effect.value, *bounds)) or 1.0
        if math.isinf(criterion.above):
            scale = -scale
        colour = _VERDICT_COLOURS[entry.verdict]
        low, value, high = ((end - centre) / scale for end in (min(ends), effect.value, max(ends)))
        axes.hlines(place, low, high, color=colour, linewidth=3, alpha=0.5)
        axes.plot(value, place, "o", color=colour)
        for bound in bounds:
            x = (bound - centre) / scale
            axes.vlines(x, place - 0.35, place + 0.35, color="black", linewidth=1.2)
    names = [f"{start + place} {_short(entry.claim.measured_as)}" for place, entry in enumerate(group)]
    axes.set_yticks(range(len(group)), names)
    axes.set(xlim=(-1.1, 1.1), ylim=(len(group) - 0.5, -0.5))
    axes.set_xticks([-0.8, 0, 0.8], ["against the claim", "criterion", "as claimed"])
    axes.grid(visible=False)


def _short(text: str) -> str:
    return text if len(text) <= 72 else text[:71] + "…"


def _interval(entry: Judged) -> str:
    effect = entry.effect
    assert effect is not None
    value = number(effect.value, ".3g")
    if math.isnan(effect.low):
        return f"{value} {entry.claim.unit}"
    return f"{value} [{effect.low:.3g}, {effect.high:.3g}] {entry.claim.unit}"


def _wrapped(text: str, name: str) -> list[str]:
    return TextWrapper(_WIDTH, initial_indent=name, subsequent_indent=" " * 13, break_on_hyphens=False).wrap(
        text
    )
