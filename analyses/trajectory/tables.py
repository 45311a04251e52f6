"""The tables of a study along finetuning."""

from __future__ import annotations

from ...study.columns import Column, Table
from ..prompt_table import PROMPTS

_SHOTS = Column("shots", "integer", "demonstrations asked for")
_RATE = Column("learning_rate", "number", "the learning rate")
_STEP = Column("step", "integer", "after how many updates")
_MEASURE = Column("measure", "text", "what was measured")
_UNIT = Column("unit", "text", "%, nats or cosine")
_VALUE = (
    Column("value", "number", "mean over layers, draws of demonstrations and queries", "as in unit"),
    Column("low", "number", "lower end of its bootstrap interval over queries", "as in unit"),
    Column("high", "number", "upper end", "as in unit"),
)
_COUNTS = (
    Column("queries", "integer", "queries that have a value"),
    Column("draws", "integer", "draws of demonstrations in which this step was reached"),
)
POINTS = Table(
    "points",
    "one measure of the model after some steps at one learning rate",
    (_SHOTS, _RATE, _STEP, _MEASURE, _UNIT, *_VALUE, *_COUNTS),
)
SETTINGS = Table(
    "settings",
    "one accuracy of zero-shot or ICL",
    (
        _SHOTS,
        Column("setting", "text", "zsl (zero-shot) or icl"),
        _MEASURE,
        _UNIT,
        *_VALUE,
        *_COUNTS,
    ),
)
MATCHED = Table(
    "matched",
    "one measure at the step of one learning rate that is nearest to ICL",
    (
        _SHOTS,
        Column("by", "text", "in what it is nearest: accuracy or label KL"),
        _RATE,
        _STEP,
        Column("nearest", "truth", "whether no other rate comes nearer"),
        Column("distance", "number", "what is left: points of accuracy, or nats"),
        Column("distance_low", "number", "lower end of its bootstrap interval over queries"),
        Column("distance_high", "number", "upper end"),
        _MEASURE,
        _UNIT,
        *_VALUE,
    ),
)
RUNS = Table(
    "runs",
    "one finetuning: a rate on a draw",
    (
        _SHOTS,
        Column("seed", "integer", "of the draw of demonstrations"),
        _RATE,
        Column("ended", "truth", "whether it came to its end; else it diverged"),
        Column("last_step", "integer", "the last step that was looked at; missing where it was none"),
        Column("last_loss", "number", "the training loss before that step", "nats"),
    ),
)
TRAJECTORY_TABLES = (POINTS, MATCHED, SETTINGS, RUNS, PROMPTS)
