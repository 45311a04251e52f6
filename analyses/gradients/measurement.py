"""Measuring how large each layer's gradients are while finetuning goes through the demonstrations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from ...errors import UserError
from ...models.finetuning import finetune
from ...models.loading import LanguageModel
from ...models.parameters import layers_of, select_parameters, untrained_slices
from ...models.recipe import Recipe, load_recipe, require_text
from ...probes.gradients import GradientNormRecorder, LayerParameters
from ...seeds import derive_seed
from ...study.finding import Finding
from ..cell import Cell, prepare_cell
from ..context import Context, Measured
from ..learning_rates import learning_rate_for
from ..prompt import view_prompt
from ..prompt_table import prompt_facts, prompt_rows, prompt_warnings
from ..subject import Subject
from .config import GradientsConfig


def measure_gradients(config: GradientsConfig, context: Context) -> Measured:
    """Finetune by each recipe on each draw and record gradients (R11).

    Args:
        config: What is asked.
        context: The model and the task.

    Raises:
        UserError: If a recipe cannot be used or diverges.
    """
    recipes = tuple(load_recipe(recipe) for recipe in config.recipes)
    for recipe in recipes:
        require_text(recipe, "gradients")
    # No query is asked; prompts are built with one.
    config = config.model_copy(update={"limit": 1, "recipes": recipes})
    subject = context.subject(config)
    config = subject.named(config)
    cells = [prepare_cell(config, subject.model, subject.task, seed) for seed in config.seeds]
    tables: dict[str, list[dict[str, Any]]] = {"norms": [], "steps": [], "runs": []}
    for cell in cells:
        for recipe in recipes:
            for name, rows in _finetuned(config, subject, recipe, cell).items():
                tables[name] += rows
    views = [view_prompt(subject.model, subject.task, cells[0])]
    facts = [
        {"name": "model", "text": config.model},
        {"name": "task", "text": config.task},
        *prompt_facts(views),
        {
            "name": "demonstrations",
            "text": f"{config.shots} shots, seeds {', '.join(map(str, config.seeds))}",
        },
    ]
    return Measured(
        config,
        {**tables, "prompts": prompt_rows(views), "facts": facts},
        (*_findings(tables["norms"]), *prompt_warnings(views)),
    )


def _findings(norms: list[dict[str, Any]]) -> tuple[Finding, ...]:
    """Return how many times the last layer's gradient the first layer's is, over steps and draws, by recipe."""
    found = []
    for recipe in dict.fromkeys(row["recipe"] for row in norms):
        layers = sorted({row["layer"] for row in norms})
        first, last = (
            fmean(row["norm"] for row in norms if (row["recipe"], row["layer"]) == (recipe, layer))
            for layer in (layers[0], layers[-1])
        )
        ratio = first / last if last else math.nan
        sentence = f"{recipe}: the first layer's gradient is {ratio:.3g} times the last layer's"
        found.append(
            Finding("first layer's gradient over the last's", sentence, value=ratio, where={"recipe": recipe})
        )
    return tuple(found)


def _finetuned(
    config: GradientsConfig, subject: Subject, recipe: Recipe, cell: Cell
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every table that one finetuning leaves."""
    model, seed = subject.model, derive_seed("finetune", cell.seed)
    asked = recipe.learning_rate if config.learning_rate is None else config.learning_rate
    recipe = recipe.model_copy(update={"learning_rate": asked})
    rate, _ = learning_rate_for(config, recipe, model, subject.task, cell)
    recorder = GradientNormRecorder(
        layer_parameters(model, recipe, seed),
        parameters=config.parameters,
        reduction=config.reduction,
        accumulate=config.accumulate,
        loss_scale=config.loss_scale,
    )
    finished = finetune(
        model,
        cell.prompts.training,
        recipe,
        learning_rate=rate,
        seed=seed,
        observe=recorder.observe,
        watch="layers" if config.parameters == "layer_all" else "trained",
    )
    key = {"recipe": recipe.name, "seed": cell.seed}
    losses = enumerate(finished.losses, start=1)
    return {
        "norms": [{**key, **row} for row in recorder.result().to_rows()],
        "steps": [{**key, "step": step, "loss": loss} for step, loss in losses],
        "runs": [{**key, "learning_rate": rate}],
    }


def layer_parameters(model: LanguageModel, recipe: Recipe, seed: int) -> tuple[LayerParameters, ...]:
    """Return which parameters of each decoder layer a recipe trains, by the names that finetuning observes.

    Args:
        model: The model.
        recipe: The recipe.
        seed: Seed of the finetuning, which may draw a layer.

    Raises:
        UserError: If the recipe trains adapters, which have other names.
    """
    if recipe.parameters.startswith("lora_"):
        raise UserError(
            "gradients are shown of the model's own parameters: take attn_kv in place of adapters"
        )
    slices = select_parameters(model, recipe.parameters, recipe.include_bias, seed)
    rest = untrained_slices(model, slices)
    trained = _by_layer(model, {piece.name: piece.name for piece in slices})
    untrained = _by_layer(model, {label: piece.name for label, piece in rest.items()})
    return tuple(
        LayerParameters(layer, trained.get(layer, ()), untrained.get(layer, ()))
        for layer in range(model.n_layers)
    )


def _by_layer(model: LanguageModel, names: Mapping[str, str]) -> dict[int | None, tuple[str, ...]]:
    found: dict[int | None, tuple[str, ...]] = {}
    for label, layer in zip(names, layers_of(model, list(names.values())), strict=True):
        found[layer] = (*found.get(layer, ()), label)
    return found
