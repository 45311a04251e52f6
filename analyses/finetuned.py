"""Where the finetuned weights of a comparison come from: a recipe, or somebody else's model."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm import tqdm

from ..errors import UserError
from ..hooks.batching import choose_batch_size
from ..hooks.capture import stream
from ..hooks.plan import CapturePlan
from ..models.delta import Delta, delta_from_module
from ..models.finetuning import finetune
from ..models.learning_rate import LearningRateChoice, choose_learning_rate
from ..models.loading import LanguageModel, load_model
from ..models.recipe import Recipe, load_recipe, published_learning_rate
from ..seeds import derive_seed
from ..tasks.demonstrations import held_out_records
from ..tasks.prompts import PromptSet, training_sequences
from ..tasks.task import Task
from .configuration import CompareConfig
from .draw import Evaluation, FinetunedSetting
from .settings import Cell


def finetune_cell(
    config: CompareConfig, model: LanguageModel, task: Task, cell: Cell, batch_size: int
) -> tuple[Delta, FinetunedSetting]:
    """Finetune on the demonstrations of one draw, or take the finetuned model that was given.

    Args:
        config: The comparison.
        model: The model; it is left as it was.
        task: The task, whose training records choose the learning rate.
        cell: The draw.
        batch_size: Queries at once when the finetuned model is evaluated along the way.

    Raises:
        UserError: If the recipe cannot be used, or finetuning diverges.
    """
    if config.finetuned is not None:
        return _load_finetuned(config, model)
    recipe = comparison_recipe(config)
    rate, choice = _learning_rate(config, recipe, model, task, cell)
    evaluations: list[Evaluation] = []

    def evaluate(epoch: int) -> None:
        evaluations.append(_evaluate(model, cell.prompts.zero_shot, config, batch_size, epoch))

    steps = recipe.steps(len(cell.prompts.training))
    with tqdm(total=steps, desc="finetune", unit="step", disable=None) as bar:
        finetuning = finetune(
            model,
            cell.prompts.training,
            recipe,
            learning_rate=rate,
            seed=derive_seed("finetune", cell.seed),
            evaluate=evaluate if recipe.evaluation_epochs else None,
            progress=lambda step, total, loss: _advance(bar),
        )
    setting = FinetunedSetting(
        recipe.name, finetuning.trained_parameters, finetuning, choice, tuple(evaluations)
    )
    return finetuning.delta, setting


def _advance(bar: tqdm) -> None:
    bar.update()


def comparison_recipe(config: CompareConfig) -> Recipe:
    """Return the recipe of a comparison, with the learning rate that the comparison puts in its place."""
    recipe = load_recipe(config.recipe)
    if config.learning_rate is None:
        return recipe
    return recipe.model_copy(update={"learning_rate": config.learning_rate})


def _load_finetuned(config: CompareConfig, model: LanguageModel) -> tuple[Delta, FinetunedSetting]:
    source = str(config.finetuned)
    if (Path(source) / "adapter_config.json").exists():
        # An adapter belongs on the model it was made from; merging changes that model, so load another.
        other = load_model(
            config.model, revision=config.revision, dtype=model.dtype, device=model.device, adapter=source
        )
    else:
        other = load_model(source, dtype=model.dtype, device=model.device)
    delta = delta_from_module(model, other)
    return delta, FinetunedSetting(source, delta.n_parameters, None, None, ())


def _learning_rate(
    config: CompareConfig, recipe: Recipe, model: LanguageModel, task: Task, cell: Cell
) -> tuple[float, LearningRateChoice | None]:
    if recipe.learning_rate == "published":
        return published_learning_rate(recipe.name, task.name), None
    if recipe.learning_rate != "auto":
        return float(recipe.learning_rate), None
    records = held_out_records(task, cell.demonstrations, config.held_out, derive_seed("held out", cell.seed))
    if not records:
        raise UserError(
            "every training record is a demonstration, so none is left to choose a learning rate on: give --lr "
            "a number, or take fewer shots"
        )
    held_out = training_sequences(
        model.require_tokenizer(), task.template, records, context_length=model.context_length
    )
    with tqdm(desc="learning rate", unit="rate", disable=None) as bar:

        def progress(done: int, total: int, value: float) -> None:
            bar.total = total
            bar.update()

        choice = choose_learning_rate(
            model,
            cell.prompts.training,
            held_out,
            recipe,
            derive_seed("finetune", cell.seed),
            progress=progress,
        )
    return choice.chosen, choice


def _evaluate(
    model: LanguageModel, prompts: PromptSet, config: CompareConfig, batch_size: int, epoch: int
) -> Evaluation:
    gold = torch.tensor(prompts.gold)
    right, likelihood = 0, 0.0
    plan = CapturePlan(sites=("attention_output",), layers=(-1,))
    for indices, batch in stream(model, prompts, plan, batch_size=batch_size, scoring=config.scoring):
        assert batch.label_logprobs is not None and batch.prediction is not None
        right += int((batch.prediction == gold[indices]).sum())
        likelihood += float(batch.label_logprobs.gather(1, gold[indices][:, None]).sum())
    return Evaluation(epoch, 100 * right / prompts.n, likelihood / prompts.n)


def batch_size_for(config: CompareConfig, model: LanguageModel, prompts: PromptSet) -> int:
    """Choose one batch size for the zero-shot and the finetuned runs, whose batches must be the same."""
    if config.batch_size != "auto":
        return config.batch_size
    longest = max(len(ids) for ids in prompts.query_ids) + len(prompts.prefix_ids)
    return choose_batch_size(model, longest, past=0)
