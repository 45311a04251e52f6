"""Several tokens drawn as one: a demonstration, or neighbours where there are too many to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .attention_rows import AttentionRows, Token

Groups = Sequence[tuple[Token, Sequence[int]]]
"""What each group is drawn as, and the places of its tokens."""

_FOLDED = "demonstration"
MOST_TOKENS = 60
"""More can not be told apart on one axis of a page."""


def readable(rows: AttentionRows, most: int = MOST_TOKENS) -> AttentionRows:
    """Return rows with no more tokens on an axis than can be read, and a note that says how.

    Demonstrations become one cell each; where that is not enough, neighbours of the same part are put together.

    Args:
        rows: The rows.
        most: How many tokens an axis holds.
    """
    longest = max(len(rows.rows), len(rows.columns))
    if longest <= most:
        return rows
    if any(token.demonstration is not None for token in rows.columns):
        rows = folded(rows)
    longest = max(len(rows.rows), len(rows.columns))
    if longest <= most:
        return rows
    length = -(-longest // most)
    while length < longest and max(len(_runs(axis, length)) for axis in (rows.rows, rows.columns)) > most:
        length += 1
    return _noted(
        grouped(rows, _runs(rows.rows, length), _runs(rows.columns, length)),
        f"up to {length} neighbours are one cell",
    )


def folded(rows: AttentionRows) -> AttentionRows:
    """Return rows in which every demonstration is one cell: shares add up, scores are averaged.

    The token with which the prompt begins stays by itself, since its share would hide the demonstration's.

    Args:
        rows: The rows.
    """
    return _noted(
        grouped(rows, _demonstrations(rows.rows), _demonstrations(rows.columns)),
        f"each demonstration is one cell ({'shares add up' if rows.kind == 'pattern' else 'mean of its scores'})",
    )


def grouped(rows: AttentionRows, row_groups: Groups, column_groups: Groups) -> AttentionRows:
    """Put tokens together: shares of a pattern add up over columns, scores are averaged; rows are averaged.

    Only visible cells count; a group without any is not visible.

    Args:
        rows: The rows.
        row_groups: The groups of rows.
        column_groups: The groups of columns.
    """
    down = _members(row_groups, len(rows.rows))
    across = _members(column_groups, len(rows.columns))
    seen = rows.visible.astype(float)
    values = np.where(rows.visible, rows.values, 0.0)
    counts = np.einsum("lhpq,rp,cq->lhrc", seen, down, across)
    total = np.einsum("lhpq,rp,cq->lhrc", values, down, across)
    if rows.kind == "pattern":
        # The mean over rows that see something of the sum over columns.
        sees = np.einsum("lhpq,cq->lhpc", seen, across) > 0
        counts = np.einsum("lhpc,rp->lhrc", sees.astype(float), down)
    visible = counts > 0
    return replace(
        rows,
        values=np.divide(total, counts, out=np.zeros_like(total), where=visible),
        visible=visible,
        rows=tuple(token for token, _ in row_groups),
        columns=tuple(token for token, _ in column_groups),
    )


def _members(groups: Groups, count: int) -> np.ndarray:
    members = np.zeros((len(groups), count))
    for place, (_, tokens) in enumerate(groups):
        members[place, list(tokens)] = 1.0
    return members


def _demonstrations(tokens: Sequence[Token]) -> Groups:
    groups: list[tuple[Token, list[int]]] = []
    for place, token in enumerate(tokens):
        last = groups[-1][0] if groups else None
        if token.demonstration is None or token.is_first:
            groups.append((token, [place]))
        elif last is not None and last.demonstration == token.demonstration and not last.is_first:
            groups[-1][1].append(place)
        else:
            name = f"{token.demonstration + 1} {token.label}".strip()
            groups.append((replace(token, name=name, part=_FOLDED), [place]))
    return groups


def _runs(tokens: Sequence[Token], length: int) -> Groups:
    """Groups of at most so many neighbours of one part, named after the first and the last."""
    groups: list[tuple[Token, list[int]]] = []
    for place, token in enumerate(tokens):
        last = groups[-1] if groups else None
        alike = last is not None and (last[0].part, last[0].demonstration) == (
            token.part,
            token.demonstration,
        )
        if last is not None and alike and len(last[1]) < length:
            last[1].append(place)
        else:
            groups.append((token, [place]))
    return [
        (replace(first, name=f"{first.name}…{tokens[places[-1]].name}") if len(places) > 1 else first, places)
        for first, places in groups
    ]


def _noted(rows: AttentionRows, note: str) -> AttentionRows:
    return replace(rows, note="; ".join(part for part in (rows.note, note) if part))
