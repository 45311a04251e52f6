"""The analysis of gradients: what it makes, and how it is asked for."""

from __future__ import annotations

from typing import Any

from ...study.analysis import Analysis, register
from ...study.columns import Column, Table
from ...study.study import Study
from ..prompt_table import PROMPTS
from .config import GradientsConfig

_KEY = (
    Column("recipe", "text", "the way of finetuning"),
    Column("seed", "integer", "of the draw of demonstrations"),
)
NORMS = Table(
    "norms",
    "one recipe, draw, step of finetuning and layer",
    (
        *_KEY,
        Column("step", "integer", "the step, counted from 1; one demonstration each"),
        Column("layer", "integer", "the layer, counted from 0"),
        Column("norm", "number", "L2 norm of the gradient", "", "Bar Natan et al. Fig. 3; R11"),
    ),
)
STEPS = Table(
    "steps",
    "one recipe, draw and step of finetuning",
    (
        *_KEY,
        Column("step", "integer", "the step, counted from 1"),
        Column("loss", "number", "the loss before the step's update", "nats"),
    ),
)
RUNS = Table(
    "runs",
    "one finetuning: a recipe on a draw",
    (*_KEY, Column("learning_rate", "number", "its learning rate")),
)

GRADIENTS = register(
    Analysis(
        name="gradients",
        summary="Record how large each layer's gradient is at each step of finetuning (Bar Natan et al. Fig. 3).",
        config=GradientsConfig,
        measure=f"{__package__}.measurement:measure_gradients",
        tables=(NORMS, STEPS, RUNS, PROMPTS),
        figures={"gradients": "iclprobe.reports.gradients:gradients_figure"},
        sheet="iclprobe.reports.gradients:gradients_sheet",
    )
)


def gradients(config: GradientsConfig | None = None, **options: Any) -> Study:
    """Finetune by each recipe and record the norm of each layer's gradient at each step (R11).

    Args:
        config: Everything about the study; or give its fields as keywords.
        options: Fields of `GradientsConfig`, such as ``shots=8`` or ``accumulate=True``, a ``model`` or ``task`` in
            memory, and ``out``, ``overwrite`` and ``say`` of `run_analysis`.

    Raises:
        UserError: If a recipe cannot be used or diverges; nothing is written then.
    """
    from ..runner import run_analysis

    return run_analysis(GRADIENTS, config, **options)
