"""The tables of in-context learning as a change of weights."""

from __future__ import annotations

from ...study.columns import Column, Table
from ..attention.tables import FINETUNINGS
from ..parts.tables import QUERIES
from ..prompt_table import PROMPTS

_SEED = Column("seed", "integer", "of the draw of demonstrations")
_LAYER = Column("layer", "integer", "the layer, counted from 0")
_MEASURE = (
    Column(
        "measure",
        "text",
        "length (of an update relative to the weights), effective rank (of the updates of all queries), explained "
        "(share of the squared length of W Δa), alignment of weights and of outputs (with what finetuning did to the "
        "same maps), closed and closed_particular (of the way from zero-shot to ICL)",
        "",
        "Dherin et al. 2025",
    ),
    Column(
        "condition",
        "text",
        "which update: own, shared, other, mean, permuted; of closed what is given where, and what shared closes "
        "more than mean",
    ),
)
_VALUE = (
    Column(
        "value", "number", "over queries; undefined where an update, or finetuning's, is nothing or rounding"
    ),
    Column("low", "number", "lower end of its bootstrap interval over queries; none of an effective rank"),
    Column("high", "number", "upper end"),
    Column(
        "null",
        "number",
        "an alignment with the updates of other queries; an effective rank of unrelated ones",
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
        Column("defined", "integer", "queries for which it is defined"),
        Column("of", "integer", "queries asked"),
    ),
)
IMPLICIT_UPDATE_TABLES = (LAYERS, MEASURES, FINETUNINGS, QUERIES, PROMPTS)
