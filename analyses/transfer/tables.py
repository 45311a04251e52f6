"""The tables of transfer: what updates do, what every query answered under each, and how long they are."""

from __future__ import annotations

from ...study.columns import Column, Table
from ..prompt_table import PROMPTS

_R22 = "R22"
_SEED = Column("seed", "integer", "of the draw of demonstrations")
_QUERY = Column("query", "integer", "the query, counted from 0 within the draw")
_WHAT = (
    Column(
        "place",
        "text",
        "where: all attention outputs, residual stream, attention output; or the model itself",
    ),
    Column("layer", "integer", "the layer, counted from 0; missing where all are written at once"),
    Column("update", "text", "what is given to the zero-shot run"),
    Column("recipe", "text", "whose finetuning it is of; missing of ICL alone"),
    Column("alpha", "number", "by what it is multiplied"),
)
_MEASURE = Column(
    "measure", "text", "closed, closed_particular, agreement, label_kl, vocabulary_kl or format"
)

TRANSFER = Table(
    "transfer",
    "one measure of one update at one place, over all draws of demonstrations",
    (
        *_WHAT,
        _MEASURE,
        Column("value", "number", "mean over the draws; missing where undefined", "", _R22),
        Column(
            "low",
            "number",
            "lower end of its bootstrap interval over queries, all draws together; missing where "
            "draws have different queries",
        ),
        Column("high", "number", "upper end"),
        Column("std", "number", "standard deviation over draws (ddof 1); missing with fewer than two"),
        Column("draws", "integer", "draws in which it is defined"),
        Column("defined", "integer", "queries that have it, over all draws"),
        Column("of", "integer", "queries that there are, over all draws"),
    ),
)
DRAWS = Table(
    "draws",
    "one measure of one update at one place in one draw of demonstrations",
    (
        _SEED,
        *_WHAT,
        _MEASURE,
        Column("value", "number", "the number; missing where undefined", "", _R22),
        Column("low", "number", "lower end of its bootstrap interval over queries"),
        Column("high", "number", "upper end"),
        Column("defined", "integer", "queries that have it"),
        Column("of", "integer", "queries that there are"),
    ),
)
PATCHED = Table(
    "patched",
    "one label of one query of one draw under one update: everything that intervals resample",
    (
        _SEED,
        *_WHAT,
        _QUERY,
        Column("label", "text", "the label, in the task's order"),
        Column("logprob", "number", "its log-probability; missing where the update is only rounding", "nats"),
        Column("vocabulary_kl", "number", "KL divergence from ICL over the vocabulary", "nats"),
    ),
)
QUERIES = Table(
    "queries",
    "one query of one draw",
    (
        _SEED,
        _QUERY,
        Column("query_index", "integer", "its place in the file or source of the records, counted from 0"),
        Column("text", "text", "its text"),
        Column("gold", "text", "its right label"),
        Column("half", "integer", "which half it belongs to; its means are of the other"),
    ),
)
LENGTHS = Table(
    "lengths",
    "the updates of one layer in one draw, by recipe, mean over queries",
    (
        _SEED,
        Column("recipe", "text", "the recipe"),
        Column("site", "text", "attention_output or residual"),
        Column("layer", "integer", "the layer, counted from 0"),
        Column("icl", "number", "length of the ICL update"),
        Column("ft", "number", "length of the finetuning update"),
        Column("along", "number", "length of the part of the ICL update along finetuning's"),
        Column("cosine", "number", "cosine of the two, of outputs as they are", "cosine"),
        Column("defined", "integer", "queries in which both are more than rounding"),
        Column("of", "integer", "queries that there are"),
    ),
)
FINETUNING = Table(
    "finetuning",
    "one finetuning: a recipe on a draw",
    (
        _SEED,
        Column("recipe", "text", "the recipe"),
        Column("trained_parameters", "integer", "how many numbers differ from the model's"),
        Column("learning_rate", "number", "the learning rate"),
        Column("steps", "integer", "updates"),
        Column("first_loss", "number", "loss over the demonstrations before the first update", "nats"),
        Column("final_loss", "number", "the same after the last one", "nats"),
        Column("zero_shot_right", "integer", "right answers over the label set, zero-shot"),
        Column("icl_right", "integer", "the same in context"),
        Column("ft_right", "integer", "the same, finetuned"),
        Column("queries", "integer", "queries asked"),
    ),
)

TRANSFER_TABLES = (TRANSFER, DRAWS, PATCHED, QUERIES, LENGTHS, FINETUNING, PROMPTS)
