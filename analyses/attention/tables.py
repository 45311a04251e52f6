"""The tables of where attention goes."""

from __future__ import annotations

from ...study.columns import Column, Table
from ..comparison.tables import FINETUNING
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
        Column(
            "predicted",
            "number",
            "of the attention on labels, how much more is on those of the label that the model answers than if it "
            "were even",
        ),
        Column(
            "right_permuted",
            "number",
            "right, where the demonstrations have each other's labels; missing where that was not run",
        ),
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
_VARIATION = "total variation"
_RECIPE_COLUMNS = ("source", "trained_parameters", "learning_rate", "steps", "first_loss", "final_loss")
FINETUNED = Table(
    "finetuned",
    "one head, over all draws: how far ICL and finetuning move the last token's attention over the query's tokens "
    "(softmax over these alone, without a token that begins the zero-shot prompt); empty without the setting ft",
    (
        _LAYER,
        _HEAD,
        Column("labels", "number", "share on the demonstrations' labels in context, as in ranked"),
        Column(
            "label_head",
            "truth",
            "whether it looks at labels: at least half the share of the head with the most, and above an even row",
        ),
        Column(
            "icl",
            "number",
            "share of that attention which ICL moves from where it is zero-shot, mean over queries and draws; 0 "
            "where only rounding changed the scores",
            _VARIATION,
        ),
        Column("icl_low", "number", "lower end of its bootstrap interval over queries", _VARIATION),
        Column("icl_high", "number", "upper end", _VARIATION),
        Column(
            "ft",
            "number",
            "the same of the finetuned model, which is asked without demonstrations",
            _VARIATION,
        ),
        Column("ft_low", "number", "lower end of its bootstrap interval over queries", _VARIATION),
        Column("ft_high", "number", "upper end", _VARIATION),
        Column(
            "same",
            "number",
            "SimAM of the two changes of the scores; undefined where only rounding changed them",
            "cosine",
            "code of Bar Natan et al.",
        ),
        Column("same_low", "number", "lower end of its bootstrap interval over queries", "cosine"),
        Column("same_high", "number", "upper end", "cosine"),
        Column("same_null", "number", "the same with the ICL scores of other queries", "cosine"),
        Column("same_defined", "number", "share of the queries for which same is defined"),
        Column(
            "ft_rounding", "number", "share of the queries whose scores finetuning changed by rounding alone"
        ),
    ),
)
FINETUNINGS = Table(
    "finetuning",
    "one finetuning, of one draw of demonstrations; empty without the setting ft",
    (
        *(column for column in FINETUNING.columns if column.name in ("seed", *_RECIPE_COLUMNS)),
        Column("queries", "integer", "how many were asked"),
        Column("changed", "integer", "of how many the finetuned model answers otherwise than zero-shot"),
        Column("zero_shot_right", "integer", "right answers over the label set, zero-shot"),
        Column("icl_right", "integer", "the same in context"),
    ),
)
ATTENTION_TABLES = (RANKED, HEADS, LAYERS, FINETUNED, FINETUNINGS, QUERIES, MAP_TOKENS, PROMPTS)
