"""The difference of two settings' attention, over the tokens that both have."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from ..errors import UserError, shown
from .attention_rows import (
    AttentionRows,
    QueryShare,
    SpanMark,
    demonstration_columns,
    query_columns,
    query_rows,
)

Over = Literal["all", "query"]


def attention_difference(rows: AttentionRows, minus: AttentionRows, over: Over = "query") -> AttentionRows:
    """Subtract one setting's attention from another's.

    Over the query's tokens a pattern is renormalised in each setting, because demonstrations take a share of the
    attention that zero-shot prompts leave to the query; `query_shares` says how large that was. Where the query's
    first token begins a prompt, heads rest on it that look nowhere else, and a note says so. A row that gives the
    query's tokens nothing has no pattern over them: NaN. Scores are subtracted as they are. An entry is visible where
    both settings see it.

    Args:
        rows: What is subtracted from.
        minus: What is subtracted, of the same layers, heads and kind.
        over: ``all`` for prompts of the same tokens, as finetuned and zero-shot; ``query`` for the rows and columns
            of the query alone, as ICL and zero-shot.

    Raises:
        UserError: If the two do not have the same layers, heads, kind or tokens, or are folded or differences.
    """
    for each in (rows, minus):
        if each.minus or each.row_counts or each.column_counts:
            raise UserError(
                f"the attention of {shown(each.name)} is a difference or folded already: subtract what was captured"
            )
    if (rows.kind, rows.layers, rows.heads) != (minus.kind, minus.layers, minus.heads):
        raise UserError(
            f"{shown(rows.setting)} and {shown(minus.setting)} do not hold the same kind, layers and heads of "
            "attention: select the same of both"
        )
    shares = tuple(
        QueryShare(each.setting, *_last_row_shares(each))
        for each in (rows, minus)
        if over == "query" and each.kind == "pattern" and demonstration_columns(each).any()
    )
    resting = [each.setting for each in (rows, minus) if over == "query" and query_columns(each)[0]]
    if over == "query":
        rows, minus = _of_query(rows), _of_query(minus)
    if (rows.row_tokens, rows.column_tokens) != (minus.row_tokens, minus.column_tokens):
        raise UserError(
            f"{shown(rows.setting)} and {shown(minus.setting)} do not hold the same tokens: subtract them over the "
            "query's tokens alone (over='query'), of the same query"
        )
    visible = rows.visible & minus.visible
    renormalised = over == "query" and rows.kind == "pattern"
    first, second = (
        _renormalised(each.values, visible) if renormalised else each.values.astype(float)
        for each in (rows, minus)
    )
    return replace(
        rows,
        values=np.where(visible, first - second, 0.0),
        visible=visible,
        minus=minus.setting,
        query_shares=shares,
        notes=(
            *(["patterns renormalised over the query's tokens"] if renormalised else []),
            *(
                [f"the first token begins the prompt {' and '.join(resting)}: heads rest on it"]
                if resting
                else []
            ),
        ),
    )


def _of_query(rows: AttentionRows) -> AttentionRows:
    """Return the query's rows over the query's columns."""
    at_rows, at_columns = query_rows(rows), query_columns(rows)
    if not at_rows.any() or not at_columns.any():
        raise UserError(
            f"the attention of {shown(rows.setting)} has no rows and columns of a query: mark its span as query"
        )
    return replace(
        rows,
        values=rows.values[:, :, at_rows][..., at_columns],
        visible=rows.visible[:, :, at_rows][..., at_columns],
        row_tokens=tuple(np.array(rows.row_tokens, dtype=object)[at_rows]),
        column_tokens=tuple(np.array(rows.column_tokens, dtype=object)[at_columns]),
        row_spans=_kept_spans(rows.row_spans, at_rows),
        column_spans=_kept_spans(rows.column_spans, at_columns),
    )


def _kept_spans(spans: tuple[SpanMark, ...], kept: np.ndarray) -> tuple[SpanMark, ...]:
    """Return the spans whose tokens are kept, where those tokens now stand."""
    return tuple(
        replace(span, start=int(kept[: span.start].sum()), stop=int(kept[: span.stop].sum()))
        for span in spans
        if kept[span.start]
    )


def _renormalised(pattern: np.ndarray, visible: np.ndarray) -> np.ndarray:
    shares = np.where(visible, pattern.astype(float), 0.0)
    mass = shares.sum(axis=-1, keepdims=True)
    return np.divide(shares, mass, out=np.full_like(shares, np.nan), where=mass > 0)


def _last_row_shares(rows: AttentionRows) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of the last row on demonstrations and on the query, ``[L, H]`` each."""
    last = np.where(rows.visible, rows.values.astype(float), 0.0)[:, :, -1]
    return last[..., demonstration_columns(rows)].sum(axis=-1), last[..., query_columns(rows)].sum(axis=-1)
