"""Rows of a finetuning and of the answers in all settings, as several analyses have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..tasks.task import Task
from .cell import Cell
from .comparison.alarms import Outcome
from .comparison.draw import Answers, FinetunedSetting, Setting
from .comparison.rows import finetuning_row

_KEPT = ("source", "trained_parameters", "learning_rate", "steps", "first_loss", "final_loss")


def outcome_of(setting: FinetunedSetting, answers: Mapping[Setting, Answers]) -> Outcome:
    """Return what a finetuning by a recipe did to answers and loss."""
    run = setting.finetuning
    assert run is not None
    return Outcome(
        source=setting.source,
        learning_rate=run.learning_rate,
        first_loss=run.first_loss,
        final_loss=run.final_loss,
        queries=len(answers["zsl"].correct),
        changed=int((answers["ft"].prediction != answers["zsl"].prediction).sum()),
        zero_shot_right=int(answers["zsl"].correct.sum()),
        icl_right=int(answers["icl"].correct.sum()),
    )


def outcome_row(seed: int, setting: FinetunedSetting, outcome: Outcome) -> dict[str, Any]:
    """Return the row of one draw's finetuning.

    Args:
        seed: The draw's.
        setting: Where the weights came from.
        outcome: What it did.
    """
    run = finetuning_row(setting)
    return {
        "seed": seed,
        **{name: run[name] for name in _KEPT},
        "queries": outcome.queries,
        "changed": outcome.changed,
        "zero_shot_right": outcome.zero_shot_right,
        "icl_right": outcome.icl_right,
    }


def answer_rows(cell: Cell, task: Task, answers: Mapping[Setting, Answers]) -> list[dict[str, Any]]:
    """Return what was answered to each query of a draw in each setting."""
    names, gold = task.label_names, cell.prompts.zero_shot.gold
    return [
        {
            "seed": cell.seed,
            "query": place,
            "query_index": task.validation[index].index,
            "gold": names[gold[place]],
            **{name: names[int(said.prediction[place])] for name, said in answers.items()},
        }
        for place, index in enumerate(cell.queries)
    ]
