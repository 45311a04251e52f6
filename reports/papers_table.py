"""The table of an experiment of a paper: measured beside published, what stands for what, and footnotes."""

from __future__ import annotations

from textwrap import TextWrapper
from typing import TYPE_CHECKING

from ..analyses.papers.footnotes import FOOTNOTES, POCKET
from .plain_table import aligned, number

if TYPE_CHECKING:
    from ..analyses.papers.declaration import Experiment, Published
    from ..analyses.papers.measured import Measured
    from ..analyses.papers.reproduction import Reproduction

_WIDTH = 100


def reproduction_text(result: Reproduction) -> str:
    """Return the table as plain text, one row a number.

    Args:
        result: The experiment, run.
    """
    experiment = result.experiment
    lines = [f"{experiment.paper} {experiment.name}: {experiment.title}", f"scale: {result.scale}"]
    for name, entries in (("what stands for what", result.mapped), ("cut or changed", result.cuts)):
        if entries:
            lines += _wrapped("; ".join(entries), f"{name}: ")
    if result.overrides:
        lines += _wrapped("; ".join(f"{key} = {value}" for key, value in result.overrides.items()), "set: ")
    lines.append("")
    lines += _numbers(result)
    lines += ["", f"±: standard deviation over {_spread(result)}"]
    lines += footnote_lines(experiment)
    if result.scale == "pocket":
        lines += _wrapped(FOOTNOTES[POCKET], f"[{POCKET}] ")
    return "\n".join(lines)


def _numbers(result: Reproduction) -> list[str]:
    """Lay the numbers out by row and column; where a row has published numbers, they stand below it."""
    places = {(entry.row, entry.column): entry for entry in result.measured}
    columns = tuple(dict.fromkeys(entry.column for entry in result.measured))
    rows = []
    for row in dict.fromkeys(entry.row for entry in result.measured):
        found = [places.get((row, column)) for column in columns]
        rows.append([row, *("–" if entry is None else _measured(entry) for entry in found)])
        published = [result.published(row, column) for column in columns]
        if any(number is not None for number in published):
            rows.append(["  published", *(_published(number) for number in published)])
    return aligned(["", *columns], rows)


def _measured(entry: Measured) -> str:
    value = number(entry.value, ".4g")
    return value if entry.std != entry.std else f"{value} ± {number(entry.std, '.2g')}"


def _published(published: Published | None) -> str:
    if published is None:
        return "–"
    value = f"{published.value:g}" + ("" if published.high is None else f" to {published.high:g}")
    return value if published.source == "text" else f"{value} *"


def _spread(result: Reproduction) -> str:
    if result.experiment.view == "comparison_with_average":
        return "draws of demonstrations, of the average over datasets"
    return {
        "sparsity": "layers",
        "gradients": "demonstrations",
        "order": "draws of demonstrations and drawn layers (Fig. 4: and learning rates)",
        "outputs": "draws of demonstrations and drawn layers",
    }.get(result.experiment.kind, "draws of demonstrations")


def footnote_lines(experiment: Experiment) -> list[str]:
    """Return the footnotes of an experiment, each under its key."""
    lines = []
    if any(published.source != "text" for published in experiment.published):
        lines.append("*: read off a figure, or computed from the paper's formula")
    for key in experiment.footnotes:
        lines += _wrapped(FOOTNOTES[key], f"[{key}] ")
    return lines


def _wrapped(text: str, name: str) -> list[str]:
    return TextWrapper(_WIDTH, initial_indent=name, subsequent_indent="  ", break_on_hyphens=False).wrap(text)
