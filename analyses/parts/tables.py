"""The tables of direct and inherited parts."""

from __future__ import annotations

from ...study.columns import Column, Table
from ..attention.tables import FINETUNINGS
from ..prompt_table import PROMPTS

_SEED = Column("seed", "integer", "of the draw of demonstrations")
_LAYER = Column("layer", "integer", "the layer, counted from 0")
_MEASURE = (
    Column(
        "measure",
        "text",
        "share (signed, of the update), length (relative to the update's), similarity (cosine of ICL's part with "
        "finetuning's), contribution (of a pair of parts to SimAOU)",
        "",
        "R23",
    ),
    Column("setting", "text", "icl or ft, whose update it is; both, where one is compared with the other"),
    Column("part", "text", "total, direct or inherited; of ICL with of finetuning where these differ"),
)
_VALUE = (
    Column("value", "number", "over queries: of shares and lengths the ratio of sums, else the mean"),
    Column("low", "number", "lower end of its bootstrap interval over queries"),
    Column("high", "number", "upper end"),
    Column("permuted_pairs", "number", "a similarity with ICL's part of other queries", "cosine"),
    Column(
        "shared_baseline",
        "number",
        "a similarity with an ICL part that begins at this query's output and ends at another query's",
        "cosine",
    ),
)
MEASURES = Table("measures", "one measure of one draw, mean over layers", (_SEED, *_MEASURE, *_VALUE))
LAYERS = Table(
    "layers",
    "one measure of one draw in one layer",
    (
        _SEED,
        _LAYER,
        *_MEASURE,
        *_VALUE,
        Column("defined", "integer", "queries for which it is defined: what changed is more than rounding"),
        Column("of", "integer", "queries asked"),
    ),
)
QUERIES = Table(
    "queries",
    "one query of one draw",
    (
        _SEED,
        Column("query", "integer", "the query, counted from 0 within the draw"),
        Column("query_index", "integer", "its place in the file or source of the records, counted from 0"),
        Column("gold", "text", "its right label"),
        Column("zsl", "text", "what the model answers zero-shot"),
        Column("icl", "text", "what it answers in context"),
        Column("ft", "text", "what it answers finetuned"),
    ),
)
PARTS_TABLES = (MEASURES, LAYERS, FINETUNINGS, QUERIES, PROMPTS)
