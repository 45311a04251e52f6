"""Draws of demonstrations as token ids, for tiny models that have no tokenizer."""

from __future__ import annotations

from typing import Any

import tiny_families

from iclprobe.analyses.cell import Cell
from iclprobe.analyses.subject import Subject
from iclprobe.analyses.transfer.config import TransferConfig
from iclprobe.analyses.transfer.draw import TransferDraw, run_draw
from iclprobe.analyses.transfer.places import patches_of, places_of
from iclprobe.models.loading import load_model
from iclprobe.models.recipe import load_recipe
from iclprobe.tasks.prompt_set import TrainingSequence
from iclprobe.tasks.prompts import PromptSet, TaskPrompts

ONE_TOKEN = ((5,), (9,), (13,))


def cell_of_ids(
    name: str,
    options: tuple[tuple[int, ...], ...] = ONE_TOKEN,
    lengths: tuple[int, ...] = (11, 19, 15, 14),
) -> Cell:
    """Queries of different lengths behind one prefix, and three sequences to finetune on."""
    queries = tuple(tuple(ids) for ids in tiny_families.prompts(name, lengths=lengths))
    labels, gold = (options,) * len(queries), (0,) * len(queries)
    prompts = TaskPrompts(
        zero_shot=PromptSet((1,), queries, labels, gold, bos_length=1),
        icl=PromptSet((1, *tiny_families.prefix(name)), queries, labels, gold, bos_length=1),
        training=tuple(
            TrainingSequence((1, *tiny_families.random_ids(length, length), *options[0]), length + 1, options)
            for length in (9, 12, 10)
        ),
        demonstrations_used=3,
        demonstrations_asked=3,
        query_indices=tuple(range(len(queries))),
        queries_skipped=0,
        separator_unknown=False,
    )
    return Cell(0, (), tuple(range(len(queries))), prompts)


def draw_of_ids(module: Any, cell: Cell, **options: Any) -> tuple[Any, TransferDraw]:
    """Return the model and its draw: recipe dai unless another is given."""
    given = {"learning_rate": 0.05, "batch_size": 2, "device": "cpu", "alphas": (0, 1), **options}
    config = TransferConfig(**given)
    model = load_model(module)
    recipes = {str(recipe): load_recipe(recipe) for recipe in config.recipes}
    patches = patches_of(places_of(config, model), tuple(recipes))
    task: Any = None  # Nothing is looked up in it where the rate is given.
    return model, run_draw(config, Subject(model, task, (0, 0)), cell, recipes, patches)
