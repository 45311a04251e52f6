"""What stands above and below an attention figure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .attention_rows import AttentionRows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTE_SIZE, TITLE_SIZE = 6.0, 8.0
_LETTER = 0.56


def notes_of(rows: AttentionRows) -> list[str]:
    """Return what a reader of these rows has to know: what is hatched, folded, renormalised and left out.

    Args:
        rows: All that a figure draws.
    """
    values = rows.drawn()
    notes = list(rows.notes)
    for share in rows.query_shares:
        notes.append(
            f"{share.setting}: {_mean(share.on_demonstrations)} of the last token's attention was on the "
            f"demonstrations and {_mean(share.on_query)} on the query"
        )
        if share.on_query.size > 1:
            notes[-1] += f" (mean over {_drawn(rows)})"
    masked = not np.broadcast_to(rows.visible, rows.values.shape).all()
    undefined = bool((np.broadcast_to(rows.visible, rows.values.shape) & ~np.isfinite(values)).any())
    if masked or undefined:
        what = [name for name, is_there in (("not visible", masked), ("undefined", undefined)) if is_there]
        notes.append(f"hatched: {' or '.join(what)}")
    return notes


def note_lines(notes: Sequence[str], width: float) -> list[str]:
    """Return notes as lines that fit below a figure of this width in inches."""
    return textwrap.wrap("; ".join(notes), int(width * 72 / (NOTE_SIZE * _LETTER)))


def title_lines(title: str, width: float) -> list[str]:
    """Return a title as lines that fit above a figure of this width in inches."""
    return textwrap.wrap(title, int(width * 72 / (TITLE_SIZE * _LETTER)))


def write_around(figure: Figure, title: Sequence[str], notes: Sequence[str]) -> None:
    """Write the lines of a title above a figure and those of its notes below."""
    if title:
        figure.suptitle("\n".join(title), fontsize=TITLE_SIZE, parse_math=False)
    if notes:
        figure.supxlabel("\n".join(notes), fontsize=NOTE_SIZE, color="#555555", parse_math=False)


def numbers(values: Sequence[int]) -> str:
    """Return numbers as a reader counts them: ``0–8``, or ``1, 4, 7`` where some lie between."""
    if len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{values[0]}–{values[-1]}"
    return ", ".join(map(str, values))


def _drawn(rows: AttentionRows) -> str:
    layers, heads = len(rows.layers), len(rows.heads)
    named = [f"{count} {what}s" for count, what in ((layers, "layer"), (heads, "head")) if count > 1]
    return " and ".join(named)


def _mean(shares: np.ndarray) -> str:
    return f"{shares.mean():.2f}"
