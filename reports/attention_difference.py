"""The difference of the attention of one query in two settings, over the tokens that both have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .attention_rows import AttentionRows


def attention_difference(one: AttentionRows, other: AttentionRows) -> AttentionRows:
    """Return one less the other.

    Prompts of the same tokens are compared over all of them. Where only one has demonstrations, rows and columns are
    the query's; patterns are divided by what they put on these columns first, and the note says how much of the last
    token's attention had gone elsewhere.

    Args:
        one: The rows of one setting.
        other: Those of another, of the same layers, heads and kind.

    Raises:
        ValueError: If they are not of the same layers, heads and kind, or their queries differ.
    """
    if (one.layers, one.heads, one.kind) != (other.layers, other.heads, other.kind):
        raise ValueError("a difference needs two settings of the same layers, heads and kind")
    note = ""
    if one.columns != other.columns:
        left = [_elsewhere(rows) for rows in (one, other)]
        one, other = _of_query(one), _of_query(other)
        if one.columns != other.columns:
            raise ValueError("the queries of the two settings are not the same tokens")
        if one.kind == "pattern":
            one, other = _renormalised(one), _renormalised(other)
            note = (
                f"over the query's tokens alone, patterns renormalised: {left[0]:.0%} and {left[1]:.0%} of the last "
                "token's attention was elsewhere (mean over the heads shown)"
            )
        else:
            note = "over the query's tokens alone"
    return replace(
        one,
        values=np.where(one.visible & other.visible, one.values - other.values, 0.0),
        visible=one.visible & other.visible,
        title=f"{one.title} − {other.title}",
        note=note,
        is_difference=True,
    )


def _query_places(rows: AttentionRows) -> tuple[list[int], list[int]]:
    parts = ("query", "turn_tail")
    return tuple(
        [place for place, token in enumerate(axis) if token.part in parts]
        for axis in (rows.rows, rows.columns)
    )  # type: ignore[return-value]


def _of_query(rows: AttentionRows) -> AttentionRows:
    return rows.of_tokens(*_query_places(rows))


def _elsewhere(rows: AttentionRows) -> float:
    """The share of the last token's attention that is not on the query, mean over layers and heads."""
    _, columns = _query_places(rows)
    last = np.where(rows.visible, rows.values, 0.0)[:, :, -1]
    return float(1 - last[..., columns].sum(-1).mean())


def _renormalised(rows: AttentionRows) -> AttentionRows:
    values = np.where(rows.visible, rows.values, 0.0)
    total = values.sum(-1, keepdims=True)
    return replace(rows, values=np.divide(values, total, out=np.zeros_like(values), where=total > 0))
