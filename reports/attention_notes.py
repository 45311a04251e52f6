"""What stands above and below an attention figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .attention_rows import AttentionRows
from .attention_scale import scale_of
from .figure_text import subject_title

if TYPE_CHECKING:
    from ..study.study import Study


def notes_of(rows: AttentionRows, *, cells_named: bool) -> list[str]:
    """Return what a reader of these rows has to know: what is hatched, folded, renormalised and left out.

    Args:
        rows: All that a figure draws.
        cells_named: Whether cells of several tokens are named in a colour of their own.
    """
    values = rows.drawn()
    notes = list(rows.notes)
    if cells_named and max((*rows.row_counts, *rows.column_counts), default=1) > 1:
        notes.append("blue: cells of several tokens")
    for share in rows.query_shares:
        notes.append(
            f"{share.setting}: {_mean(share.on_demonstrations)} of the last token's attention was on the "
            f"demonstrations and {_mean(share.on_query)} on the query"
        )
        if share.on_query.size > 1:
            notes[-1] += f" (mean over {_drawn(rows)})"
    if scale_of(rows).square_root:
        notes.append("colours by square root")
    masked = not np.broadcast_to(rows.visible, rows.values.shape).all()
    undefined = bool((np.broadcast_to(rows.visible, rows.values.shape) & ~np.isfinite(values)).any())
    if masked or undefined:
        what = [name for name, is_there in (("not visible", masked), ("undefined", undefined)) if is_there]
        notes.append(f"hatched: {' or '.join(what)}")
    return notes


def study_title(study: Study) -> str:
    """Return what the figures of a study of attention are about."""
    config = study.config
    return f"{subject_title(config)}, {config.shots} shot{'s' * (config.shots > 1)}"


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
