"""Finetuning by a recipe on the demonstrations of one draw."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...errors import UserError, shown
from ...hooks.batching import choose_batch_size
from ...hooks.repeated_queries import RepeatedQueries
from ...models.delta import Delta
from ...models.finetuning import finetune, training_loss
from ...models.loading import LanguageModel
from ...models.parameters import first_trained_layer
from ...models.recipe import Recipe, load_recipe
from ...progress import Progress
from ...seeds import derive_seed
from ...tasks.prompts import PromptSet
from ...tasks.task import Task
from ..cell import Cell
from ..configuration import CellConfig, MeasuringConfig, SubjectConfig
from ..icl_targets import training_of
from ..learning_rates import rate_and_finetuning_for
from .draw import Evaluation, FinetunedSetting
from .finetuning_drift import finetuning_drift


def finetune_cell(
    config: CellConfig, model: LanguageModel, task: Task, cell: Cell, batch_size: int
) -> tuple[Delta, FinetunedSetting]:
    """Finetune on the demonstrations of one draw.

    Args:
        config: The comparison.
        model: The model; it is left as it was.
        task: The task, whose training records choose the learning rate.
        cell: The draw.
        batch_size: Queries at once when the finetuned model is evaluated along the way.

    Raises:
        UserError: If the recipe cannot be used, or finetuning diverges.
    """
    delta, setting = _finetune(config, comparison_recipe(config), model, task, cell, batch_size)
    return delta, replace(setting, drift=finetuning_drift(model, delta))


def _finetune(
    config: CellConfig, recipe: Recipe, model: LanguageModel, task: Task, cell: Cell, batch_size: int
) -> tuple[Delta, FinetunedSetting]:
    training, targets = training_of(recipe, model, task, cell, config.batch_size)
    # One that is evaluated along the way has to run again.
    rate, choice, finetuning = rate_and_finetuning_for(
        config, recipe, model, task, cell, keep=recipe.evaluation_epochs is None
    )
    seed = derive_seed("finetune", cell.seed)
    evaluations: list[Evaluation] = []
    queries = None
    if recipe.evaluation_epochs is not None:
        queries = RepeatedQueries(
            model,
            cell.prompts.zero_shot,
            first_trained_layer=first_trained_layer(model, recipe, seed),
            batch_size=batch_size,
            scoring=config.scoring,
        )

    def evaluate(epoch: int) -> None:
        if queries is not None:
            evaluations.append(_evaluate(queries, torch.tensor(cell.prompts.zero_shot.gold), epoch))

    if finetuning is None:
        name = f"finetune ({recipe.name}, learning rate {rate:g})"
        with Progress(name, recipe.steps(len(training)), "steps") as bar:
            finetuning = finetune(
                model,
                training,
                recipe,
                learning_rate=rate,
                seed=seed,
                evaluate=None if queries is None else evaluate,
                progress=lambda step, total, loss: bar.update(),
                targets=targets,
            )
    whole_steps = recipe.batch_size_of(len(training)) == len(training)
    before = None if whole_steps else training_loss(model, training, recipe, seed, targets=targets)
    kept = replace(finetuning, delta=_in_main_memory(finetuning.delta), initial_loss=before)
    setting = FinetunedSetting(recipe.name, kept.trained_parameters, kept, choice, tuple(evaluations))
    return finetuning.delta, setting


def _in_main_memory(delta: Delta) -> Delta:
    """Return a delta for results, which hold no GPU memory."""
    return Delta({name: tensor.cpu() for name, tensor in delta.tensors.items()})


def comparison_recipe(config: CellConfig) -> Recipe:
    """Return the recipe of a comparison, with the learning rate that the comparison puts in its place.

    Raises:
        UserError: If there is no such recipe, or a rate is to be chosen for one that imitates ICL.
    """
    recipe = load_recipe(config.recipe)
    if config.learning_rate is None:
        return recipe
    if recipe.objective != "text" and config.learning_rate == "auto":
        raise UserError(
            f"auto chooses a learning rate by held-out labels, and recipe {shown(recipe.name)} does not learn them: "
            "leave learning_rate (--lr) out, which is auto for the others anyway, or give a number"
        )
    return recipe.model_copy(update={"learning_rate": config.learning_rate})


def _evaluate(queries: RepeatedQueries, gold: Tensor, epoch: int) -> Evaluation:
    right, likelihood = 0, 0.0
    for indices, said in queries.ask():
        assert said.label_logprobs is not None
        right += int((said.prediction.cpu() == gold[indices]).sum())
        likelihood += float(said.label_logprobs.cpu().gather(1, gold[indices][:, None]).sum())
    return Evaluation(epoch, 100 * right / len(gold), likelihood / len(gold))


def batch_size_for(config: SubjectConfig, model: LanguageModel, prompts: PromptSet) -> int:
    """Choose one batch size for the zero-shot and the finetuned runs, whose batches must be the same."""
    if config.batch_size != "auto":
        return config.batch_size
    longest = max(len(ids) for ids in prompts.query_ids) + len(prompts.prefix_ids)
    # The libraries' attention forms every score.
    other = isinstance(config, MeasuringConfig) and config.engine != "native"
    return choose_batch_size(model, longest, past=0, forms_scores=other)
