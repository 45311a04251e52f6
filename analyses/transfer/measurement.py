"""Measuring what updates do when they are given to the zero-shot run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import UserError
from ..cell import prepare_cell
from ..comparison.cells import recipes_of
from ..comparison.facts import finetuning_facts, task_fact
from ..context import Context, Measured
from ..prompt import view_prompt
from ..prompt_table import prompt_facts, prompt_rows, prompt_warnings
from ..subject import Subject
from .config import TransferConfig
from .draw import TransferDraw, run_draw
from .estimate import estimate_transfer
from .findings import transfer_findings
from .places import patches_of, places_of
from .rows import finetuning_rows, length_rows, outcome_rows, patched_columns, query_rows
from .tables import TRANSFER


def measure_transfer(config: TransferConfig, context: Context) -> Measured:
    """Run every setting of every draw, and the zero-shot run under every update.

    Args:
        config: What is asked.
        context: The model and the task.

    Raises:
        UserError: If something asked for cannot be done.
    """
    recipes = recipes_of(config.recipes)
    subject = context.subject(config)
    config = subject.named(config.model_copy(update={"recipes": tuple(recipes.values())}))
    model, task = subject.model, subject.task
    patches = patches_of(places_of(config, model), tuple(recipes))
    cells = [prepare_cell(config, model, task, seed) for seed in config.seeds]
    for cell in cells:
        if cell.prompts.zero_shot.n < 2:
            raise UserError(
                "means and permutations are of other queries, and there is one: raise limit (--limit)"
            )
    if context.is_heard:
        found = estimate_transfer(config, model, cells, tuple(recipes.values()), patches)
        context.say(found.describe())
    views = [view_prompt(model, task, cells[0])]
    draws = [run_draw(config, subject, cell, recipes, patches) for cell in cells]
    pooled, single = outcome_rows(config, draws)
    rows, same = (sum(each) for each in zip(*(draw.answers.unchanged for draw in draws), strict=True))
    return Measured(
        config,
        {
            "transfer": pooled,
            "draws": single,
            "patched": patched_columns(draws, task),
            "queries": [row for draw in draws for row in query_rows(draw, task)],
            "lengths": [row for draw in draws for row in length_rows(draw)],
            "finetuning": [row for draw in draws for row in finetuning_rows(draw)],
            "prompts": prompt_rows(views),
            "facts": [*_facts(config, subject, draws), *prompt_facts(views)],
        },
        (*transfer_findings(config, TRANSFER.frame(pooled), draws), *prompt_warnings(views)),
        provenance={"alpha_0": {"rows": rows, "bit_identical": same}},
    )


def _facts(config: TransferConfig, subject: Subject, draws: Sequence[TransferDraw]) -> list[dict[str, Any]]:
    task, prompts = subject.task, draws[0].cell.prompts
    seeds = f"seed{'s' * (len(config.seeds) > 1)} {', '.join(map(str, config.seeds))}"
    facts = [
        ("model", f"{config.model}, {len(draws[0].layers)} layers written"),
        ("task", task_fact(config.task, task.label_names, config.template or task.template.name)),
        ("demonstrations", f"{prompts.demonstrations_used} of {config.shots} shots used, {seeds}"),
        ("queries", f"{draws[0].queries}, in two halves; means are of the half that they are not judged on"),
        ("right answers", "; ".join(_right(draws))),
    ]
    for name, recipe in recipes_of(config.recipes).items():
        sources = [draw.sources[name] for draw in draws]
        facts += finetuning_facts(config.finetuning(recipe), sources)
    return [{"name": name, "text": text} for name, text in facts]


def _right(draws: Sequence[TransferDraw]) -> list[str]:
    def each(counts: Sequence[int]) -> str:
        return ", ".join(f"{count}" for count in counts) + f" of {draws[0].queries}"

    first = draws[0].outcomes
    some = next(iter(first))
    return [
        f"zero-shot {each([draw.outcomes[some].zero_shot_right for draw in draws])}",
        f"ICL {each([draw.outcomes[some].icl_right for draw in draws])}",
        *(
            f"{name} {each([int((draw.finetuned[name].argmax(dim=1) == draw.gold).sum()) for draw in draws])}"
            for name in first
        ),
    ]
