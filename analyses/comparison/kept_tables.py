"""The tables of the attention that a comparison keeps to be looked at: what there is, and over which tokens."""

from __future__ import annotations

from ...study.columns import Column, Table

_SEED = Column("seed", "integer", "of the draw of demonstrations")

KEPT = Table(
    "kept",
    "one setting of one draw whose attention is kept to be looked at",
    (
        _SEED,
        Column("setting", "text", "zsl (zero-shot), icl or ft (finetuned)"),
        Column(
            "arrays",
            "text",
            "the group of arrays: `scores` [n, L, H, Q] and `visible` [n, L, 1, Q] of the row that is compared, over "
            "the query's own tokens; `map-QUERY` [L, H, P, T], the pattern of every token of the query over the "
            "whole prompt; `layers`",
        ),
        Column("rows", "integer", "queries whose row of scores is kept, the first of the draw"),
        Column("maps", "integer", "queries of which every token's row is kept, the first of the draw"),
    ),
)
KEPT_TOKENS = Table(
    "kept_tokens",
    "one token of the prompts whose attention is kept",
    (
        _SEED,
        Column(
            "setting",
            "text",
            "zsl or icl, for what stands before every query there; missing for a query's tokens",
        ),
        Column(
            "query", "integer", "the query, counted from 0 within the draw; missing for what stands before it"
        ),
        Column("token", "integer", "its place, counted from 0: in the query, or in what stands before it"),
        Column("id", "integer", "its id"),
        Column("text", "text", "what it says"),
        Column("part", "text", "the name of the span that it stands in"),
        Column("demonstration", "integer", "which demonstration it belongs to, counted from 0"),
        Column("label", "text", "the label of that demonstration"),
    ),
)
KEPT_TABLES = (KEPT, KEPT_TOKENS)
