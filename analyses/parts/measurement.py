"""Measuring the direct and the inherited part of what ICL and finetuning change in every layer's attention output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...hooks.given_inputs import require_one_stream
from ...models.loading import LanguageModel
from ...study.finding import Finding
from ...tasks.task import Task
from ..cell import prepare_cell
from ..context import Context, Measured
from ..draw_facts import draw_facts
from ..finetuned_rows import answer_rows, outcome_row
from ..prompt import view_prompt
from ..prompt_table import prompt_facts, prompt_rows, prompt_warnings
from .config import PartsConfig
from .findings import parts_findings
from .part_rows import part_rows
from .split_draw import SplitDraw, split_draw


def measure_parts(config: PartsConfig, context: Context) -> Measured:
    """Divide both updates of every draw.

    Args:
        config: What is asked.
        context: The model and the task.

    Raises:
        UserError: If the layers' inputs cannot be replaced, or finetuning fails.
    """
    subject = context.subject(config)
    config, model, task = subject.named(config), subject.model, subject.task
    require_one_stream(model)
    cells = [prepare_cell(config, model, task, seed) for seed in config.seeds]
    views = [view_prompt(model, task, cells[0])]
    draws = [split_draw(config, model, task, cell) for cell in cells]
    measures: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    for draw in draws:
        of_draw, by_layer = part_rows(config, draw)
        measures += of_draw
        layers += by_layer
    return Measured(
        config,
        {
            "measures": measures,
            "layers": layers,
            "finetuning": [outcome_row(draw.cell.seed, draw.setting, draw.outcome) for draw in draws],
            "queries": [row for draw in draws for row in answer_rows(draw.cell, task, draw.answers)],
            "prompts": prompt_rows(views),
            "facts": [*_facts(config, model, task, draws), *prompt_facts(views)],
        },
        (*parts_findings(config, measures, draws), *_positions(draws), *prompt_warnings(views)),
    )


def _positions(draws: Sequence[SplitDraw]) -> tuple[Finding, ...]:
    """Warn where the residual stream itself holds where a token stands."""
    if not any(draw.holds_positions for draw in draws):
        return ()
    return (
        Finding(
            "positions in the stream",
            "this model adds positions to the residual stream, so that the later positions of a query behind "
            "demonstrations are direct in the first layer and inherited above it",
            "warning",
        ),
    )


def _facts(
    config: PartsConfig, model: LanguageModel, task: Task, draws: Sequence[SplitDraw]
) -> list[dict[str, str]]:
    facts = {
        "model": f"{config.model}, {len(draws[0].layers)} layers with attention",
        **draw_facts(config, task, draws, queries=str(draws[0].cell.prompts.zero_shot.n)),
    }
    return [{"name": name, "text": text} for name, text in facts.items()]
