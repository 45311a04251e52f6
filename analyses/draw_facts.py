"""What a study of some draws says of them before its numbers: task, demonstrations, right answers, finetuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..tasks.task import Task
from .cell import Cell
from .comparison.draw import Answers, FinetunedSetting, Setting
from .comparison.facts import finetuning_facts, task_fact


class ComparedDraw(Protocol):
    """A draw with its three settings."""

    @property
    def cell(self) -> Cell: ...  # noqa: D102
    @property
    def answers(self) -> Mapping[Setting, Answers]: ...  # noqa: D102
    @property
    def setting(self) -> FinetunedSetting: ...  # noqa: D102


def draw_facts(config: Any, task: Task, draws: Sequence[ComparedDraw], queries: str) -> dict[str, str]:
    """Return the facts by their names.

    Args:
        config: The configuration of a cell.
        task: The task.
        draws: The draws.
        queries: What is said of the queries.
    """
    settings: tuple[Setting, ...] = ("zsl", "icl", "ft")
    right = [
        ", ".join(f"{float(draw.answers[name].correct.double().mean()):.1%}" for draw in draws)
        for name in settings
    ]
    seeds = f"seed{'s' * (len(config.seeds) > 1)} {', '.join(map(str, config.seeds))}"
    used = draws[0].cell.prompts.demonstrations_used
    return {
        "task": task_fact(config.task, task.label_names, config.template or task.template.name),
        "demonstrations": f"{used} of {config.shots} shots used, {seeds}",
        "queries": queries,
        "right over the label set": f"zero-shot {right[0]}; in context {right[1]}; finetuned {right[2]}",
        **dict(finetuning_facts(config.finetuning(), [draw.setting for draw in draws])),
    }
