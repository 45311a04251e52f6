"""The tables of where attention goes."""

from __future__ import annotations

from ...study.columns import Column, Table
from ..prompt_table import PROMPTS

_CONTROL = Column("control", "text", "none, or permuted_labels: the demonstrations have each other's labels")
_SEED = Column("seed", "integer", "of the draw of demonstrations")
_LAYER = Column("layer", "integer", "the layer, counted from 0")
_HEAD = Column("head", "integer", "the head, counted from 0")
_PART = Column(
    "part",
    "text",
    "begin (of sequence), inputs and labels of demonstrations, separators, query, rest; or a split",
)
_SHARE = (
    Column("share", "number", "share of the last token's attention on the part, mean over queries"),
    Column("low", "number", "lower end of its bootstrap interval over queries"),
    Column("high", "number", "upper end"),
    Column("even", "number", "the share if attention were even over all visible tokens"),
)

RANKED = Table(
    "ranked",
    "one head, over all draws: how much it looks at the demonstrations' labels, and at the right ones",
    (
        _LAYER,
        _HEAD,
        Column("labels", "number", "share on the demonstrations' labels, mean over queries and draws"),
        Column("labels_low", "number", "lower end of its bootstrap interval over queries"),
        Column("labels_high", "number", "upper end"),
        Column("labels_even", "number", "the share if attention were even"),
        Column(
            "right",
            "number",
            "of the attention on labels, how much more is on right ones than if it were even; 0 tells nothing apart",
        ),
        Column("right_low", "number", "lower end of its bootstrap interval over queries"),
        Column("right_high", "number", "upper end"),
        Column("right_std", "number", "standard deviation over draws (ddof 1); missing with fewer than two"),
        Column("predicted", "number", "the same for the labels that the model answers"),
        Column("right_permuted", "number", "right, with permuted labels; missing where that was not run"),
        Column("right_permuted_low", "number", "lower end of its bootstrap interval over queries"),
        Column("right_permuted_high", "number", "upper end"),
    ),
)
HEADS = Table(
    "heads", "one part in one layer and head of one draw", (_CONTROL, _SEED, _LAYER, _HEAD, _PART, *_SHARE)
)
LAYERS = Table(
    "layers", "one part in one layer of one draw, mean over heads", (_CONTROL, _SEED, _LAYER, _PART, *_SHARE)
)
QUERIES = Table(
    "queries",
    "one query of one draw",
    (
        _CONTROL,
        _SEED,
        Column("query", "integer", "the query, counted from 0 within the draw"),
        Column("query_index", "integer", "its place in the file or source of the records, counted from 0"),
        Column("text", "text", "its text"),
        Column("gold", "text", "its right label"),
        Column("prediction", "text", "what the model answers in context"),
    ),
)
MAP_TOKENS = Table(
    "map_tokens",
    "one token of the query that is mapped, in one setting",
    (
        Column("setting", "text", "zsl (zero-shot), icl or ft (finetuned)"),
        Column("token", "integer", "its place in the whole prompt, counted from 0"),
        Column("id", "integer", "its id"),
        Column("text", "text", "what it says"),
        Column("part", "text", "the name of the span that it stands in"),
        Column("demonstration", "integer", "which demonstration it belongs to, counted from 0"),
        Column("label", "text", "the label of that demonstration"),
    ),
)
ATTENTION_TABLES = (RANKED, HEADS, LAYERS, QUERIES, MAP_TOKENS, PROMPTS)
