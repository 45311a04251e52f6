"""Lists of the papers' experiments: what there is, and what was run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .declaration import Experiment
    from .experiment_index import Index


def listing_text(experiments: Sequence[Experiment], claims: int) -> str:
    """Return the list of experiments as text: paper, name, analysis and title.

    Args:
        experiments: The experiments.
        claims: How many claims there are.
    """
    lines = [_line(entry.paper, entry.name, entry.kind, entry.title) for entry in experiments]
    both = f"{claims} empirical sentences of both papers, measured and judged"
    return "\n".join([*lines, _line("both", "claims", "claims", both)])


def index_text(index: Index) -> str:
    """Return the index of a directory of experiments as text.

    Args:
        index: What was run.
    """
    lines = [
        _line(row.paper, row.name, row.status, row.title + (f": {row.note}" if row.note else ""))
        for row in index.rows
    ]
    counts = Counter(row.status for row in index.rows)
    said = ", ".join(
        f"{counts[status]} {status}" for status in ("written", "kept", "failed") if counts[status]
    )
    return "\n".join([*lines, "", f"{len(index.rows)} experiments: {said}; {index.seconds:.0f} s"])


def _line(paper: str, name: str, third: str, title: str) -> str:
    return f"{paper:<9} {name:<9} {third:<10} {title}"
