"""What every row of a study of arms begins with."""

from __future__ import annotations

from ...study.columns import Column

ARM_KEY = (
    Column("model", "text", "the model"),
    Column("task", "text", "the task"),
    Column("shots", "integer", "demonstrations asked for"),
    Column("seed", "integer", "of the draw of demonstrations"),
    Column("arm", "text", "ICL, zero-shot, or how it was finetuned"),
    Column("layer", "integer", "the drawn layer, counted from 0; missing where none was drawn"),
    Column("learning_rate", "number", "the learning rate; undefined of ICL and zero-shot"),
    Column("chosen", "truth", "whether the rate was chosen on held-out training records"),
    Column("epoch", "integer", "counted from 1; missing of ICL and zero-shot"),
)
