"""Looking at a model on its way: what it has in common with ICL at some steps of one finetuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...models.finetuning import finetune
from ...models.recipe import Recipe
from ...models.stepper import FinetuningDiverged
from ...probes import calibrated_prediction
from ...seeds import derive_seed
from ..cell import Cell
from ..comparison.draw import Answers
from ..comparison.pretrained import Pretrained
from ..comparison.reduction import Reduced, reduce_finetuned
from ..comparison.settings import answers_of, stream_finetuned
from ..configuration import CellConfig
from ..icl_targets import training_of
from ..subject import Subject
from .names import ACCURACY, CALIBRATED, LABEL_KL, LIKENESS, SHARED_BASELINE


@dataclass(frozen=True, eq=False)
class Look:
    """A model at one step of one finetuning on one draw of demonstrations.

    Attributes:
        step: After how many updates, from 1.
        loss: The training loss before the latest of them.
        values: Each measure of each query, ``[N, L]`` by name; answers have one layer.
    """

    step: int
    loss: float
    values: dict[str, Tensor]


def looked_at(asked: Sequence[int] | None, last: int) -> tuple[int, ...]:
    """Return the steps to look at: those asked for, or powers of two, as far as there are; and the last."""
    steps = asked if asked is not None else [2**power for power in range(last.bit_length())]
    return tuple(sorted({step for step in steps if step <= last} | {last}))


def look_along(
    config: CellConfig,
    recipe: Recipe,
    learning_rate: float,
    steps: Sequence[int] | None,
    subject: Subject,
    cell: Cell,
    pretrained: Pretrained,
) -> tuple[list[Look], bool]:
    """Finetune on one draw and compare the model with ICL at some steps; tell whether it came to its end.

    Args:
        config: How they are compared.
        recipe: How to finetune.
        learning_rate: The learning rate.
        steps: The steps to look at, see `looked_at`.
        subject: The model, which is left as it was, and the task.
        cell: The draw.
        pretrained: Its zero-shot and in-context setting.

    Raises:
        UserError: If the recipe cannot be used. A finetuning that diverges is no error: what was seen before is kept.
    """
    model = subject.model
    training, targets = training_of(recipe, model, subject.task, cell, config.batch_size)
    wanted = looked_at(steps, recipe.steps(len(training)))
    looks: list[Look] = []

    def look(step: int, total: int, loss: float) -> None:
        if step in wanted:
            with torch.no_grad():
                looks.append(Look(step, loss, _values(config, subject, cell, pretrained)))

    try:
        finetune(
            model,
            training,
            recipe,
            learning_rate=learning_rate,
            seed=derive_seed("finetune", cell.seed),
            progress=look,
            targets=targets,
        )
    except FinetuningDiverged:
        return looks, False
    return looks, True


def _values(config: CellConfig, subject: Subject, cell: Cell, pretrained: Pretrained) -> dict[str, Tensor]:
    """Return every measure of the model as it is now."""
    batched = config.model_copy(update={"batch_size": pretrained.zero_shot.batch_size})
    gold = torch.tensor(cell.prompts.zero_shot.gold)
    reduced: Reduced = reduce_finetuned(
        config,
        stream_finetuned(batched, subject.model, cell.prompts.zero_shot, None),
        pretrained.zero_shot.capture,
        pretrained.icl,
        gold,
        pretrained.gaussian,
        pretrained.floors,
        cell.seed,
    )
    icl = answers_of(pretrained.icl, gold)
    likeness = (
        reduced.sim_aou.values,
        reduced.sim_aou_partial.values,
        reduced.sim_am_after.per_example,
    )
    return {
        **answer_values(reduced.answers, icl, gold),
        **dict(zip(LIKENESS, likeness, strict=True)),
        SHARED_BASELINE: reduced.nulls["shared_baseline"].values,
    }


def answer_values(answers: Answers, icl: Answers, gold: Tensor) -> dict[str, Tensor]:
    """Return accuracies in % and the divergence from ICL's distribution over the labels in nats, ``[N, 1]`` each."""
    said, heard = (each.label_logprobs.double().log_softmax(-1) for each in (answers, icl))
    return {
        ACCURACY: 100.0 * answers.correct.double()[:, None],
        CALIBRATED: 100.0 * (calibrated_prediction(answers.label_logprobs) == gold).double()[:, None],
        LABEL_KL: (heard.exp() * (heard - said)).sum(-1, keepdim=True),
    }
