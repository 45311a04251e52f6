"""The tables of a study of labels, besides those of its comparisons."""

from __future__ import annotations

from ...study.columns import Column, Table

VARIANT = Column("variant", "text", "the labels of the demonstrations: gold, random, flipped or abstract")
_MEASURE = Column("measure", "text", "what was measured")
_UNIT = Column("unit", "text", "% or cosine")
_VALUE = (
    Column("value", "number", "mean over layers, draws of demonstrations and queries", "as in unit"),
    Column("low", "number", "lower end of its bootstrap interval over queries", "as in unit"),
    Column("high", "number", "upper end", "as in unit"),
)
_COUNTS = (
    Column("queries", "integer", "queries that have a value"),
    Column("draws", "integer", "draws of demonstrations"),
)
EFFECTS = Table(
    "effects",
    "one measure of the comparison with one kind of labels, and what it is more than with gold ones",
    (
        VARIANT,
        _MEASURE,
        _UNIT,
        *_VALUE,
        Column("change", "number", "this less the value with gold labels", "as in unit"),
        Column("change_low", "number", "lower end of its interval: the same queries with both labels"),
        Column("change_high", "number", "upper end"),
        *_COUNTS,
    ),
)
PAIRS = Table(
    "pairs",
    "what in-context learning with two kinds of labels has in common",
    (
        VARIANT,
        Column("other", "text", "the other labels"),
        _MEASURE,
        _UNIT,
        *_VALUE,
        *_COUNTS,
    ),
)
DEMONSTRATION_LABELS = Table(
    "demonstration_labels",
    "the labels of one draw of demonstrations",
    (
        VARIANT,
        Column("seed", "integer", "of the draw of demonstrations"),
        Column("words", "text", "the label words, in the order of the labels"),
        Column("right", "integer", "demonstrations in the context that have their own label"),
        Column("demonstrations", "integer", "demonstrations in the context"),
    ),
)
