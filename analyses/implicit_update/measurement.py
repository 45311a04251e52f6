"""Measuring in-context learning as a change of the MLPs' weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...hooks.first_maps import first_maps
from ...models.loading import LanguageModel
from ...study.finding import Finding
from ...tasks.task import Task
from ..cell import prepare_cell
from ..context import Context, Measured
from ..draw_facts import draw_facts
from ..finetuned_rows import answer_rows, outcome_row
from ..prompt import view_prompt
from ..prompt_table import prompt_facts, prompt_rows, prompt_warnings
from .config import ImplicitUpdateConfig
from .draw import ImplicitDraw, draw_updates, has_middle
from .findings import implicit_findings
from .judged import judge
from .rows import implicit_rows


def measure_implicit_update(config: ImplicitUpdateConfig, context: Context) -> Measured:
    """Make the implicit updates of every draw, compare them with finetuning's, and give them to the zero-shot run.

    Args:
        config: What is asked.
        context: The model and the task.

    Raises:
        UserError: If the MLPs are not dense, there are too few queries, or finetuning fails.
    """
    subject = context.subject(config)
    config, model, task = subject.named(config), subject.model, subject.task
    first_maps(model)
    cells = [prepare_cell(config, model, task, seed) for seed in config.seeds]
    views = [view_prompt(model, task, cells[0])]
    notes = _parallel(config, model)
    asked = config.model_copy(update={"judged": False}) if notes else config
    measures: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    draws = []
    for cell in cells:
        draw = draw_updates(config, model, task, cell)
        judged = judge(config, model, draw) if asked.judged else None
        of_draw, by_layer = implicit_rows(config, draw, judged)
        measures += of_draw
        layers += by_layer
        draws.append(draw)
    return Measured(
        config,
        {
            "layers": layers,
            "measures": measures,
            "finetuning": [outcome_row(draw.cell.seed, draw.setting, draw.outcome) for draw in draws],
            "queries": [row for draw in draws for row in answer_rows(draw.cell, task, draw.answers)],
            "prompts": prompt_rows(views),
            "facts": [*_facts(config, model, task, draws), *prompt_facts(views)],
        },
        (*implicit_findings(asked, measures, layers, draws), *notes, *prompt_warnings(views)),
    )


def _parallel(config: ImplicitUpdateConfig, model: LanguageModel) -> tuple[Finding, ...]:
    """Warn where there is no skip path of the MLP to give anything to."""
    if not config.judged or has_middle(model):
        return ()
    return (
        Finding(
            "updates were not given",
            f"attention and MLP of {model.family.label} read one stream, so there is no skip path around the MLP to "
            "give a change to: what the updates do was not measured",
            "warning",
        ),
    )


def _facts(
    config: ImplicitUpdateConfig, model: LanguageModel, task: Task, draws: Sequence[ImplicitDraw]
) -> list[dict[str, str]]:
    first = draws[0]
    maps = first.layers[0].maps
    queries = f"{len(first.half)}, in two halves of which each is judged by what the other was fitted on"
    facts = {
        "model": f"{config.model}, {len(first.layers)} layers with attention, {len(maps.modules)} first "
        f"map{'s' * (len(maps.modules) > 1)} of {model.width} to {sum(maps.widths)} in each",
        **draw_facts(config, task, draws, queries=queries),
    }
    return [{"name": name, "text": text} for name, text in facts.items()]
