"""The table of a series of checkpoints: how like ICL each step is, and how far behind the step that is most."""

from __future__ import annotations

from ...study.columns import Column, Table

SERIES = Table(
    "series",
    "one measure at one checkpoint of a training run; empty where what is finetuned is no series",
    (
        Column("recipe", "text", "the checkpoint's name"),
        Column("shots", "integer", "demonstrations asked for"),
        Column("place", "integer", "its place in the series, counted from 0"),
        Column("step", "integer", "its training step; missing where its name tells none"),
        Column("measure", "text", "what was measured"),
        Column("unit", "text", "% or cosine"),
        Column("value", "number", "mean over layers and draws of demonstrations", "as in unit"),
        Column("low", "number", "lower end of its bootstrap interval over queries", "as in unit"),
        Column("high", "number", "upper end", "as in unit"),
        Column("null", "number", "what the measure is read against: its null, or SimAM before finetuning"),
        Column("most", "truth", "whether it is the first of the series with the largest value"),
        Column("behind", "number", "the largest value less this one", "as in unit"),
        Column("behind_low", "number", "lower end of its interval: the same queries at both checkpoints"),
        Column("behind_high", "number", "upper end"),
    ),
)
