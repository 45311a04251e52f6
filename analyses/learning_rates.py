"""Which learning rate a recipe takes on the demonstrations of one draw."""

from __future__ import annotations

from collections.abc import Sequence

from ..hooks.batching import choose_batch_size
from ..models.finetuning import Finetuning
from ..models.learning_rate import CANDIDATES, LearningRateChoice, search_learning_rate
from ..models.loading import LanguageModel
from ..models.recipe import Recipe, published_learning_rate
from ..progress import Progress
from ..seeds import derive_seed
from ..tasks.demonstrations import held_out_records
from ..tasks.prompts import training_sequences
from ..tasks.task import Task
from .cell import Cell
from .configuration import SubjectConfig


def learning_rate_for(
    config: SubjectConfig,
    recipe: Recipe,
    model: LanguageModel,
    task: Task,
    cell: Cell,
    *,
    candidates: Sequence[float] = CANDIDATES,
) -> tuple[float, LearningRateChoice | None]:
    """Return the number that a recipe's learning rate stands for, and how it was chosen if it was.

    Args:
        config: What is run; it says how many training records are held out for ``auto``.
        recipe: The recipe.
        model: The model; it is left as it was.
        task: The task, whose training records choose the learning rate.
        cell: The draw of demonstrations.
        candidates: The rates that ``auto`` tries, ascending.

    Raises:
        UserError: If none was published, no record is left to choose on, or every candidate diverges.
    """
    rate, choice, _ = rate_and_finetuning_for(
        config, recipe, model, task, cell, candidates=candidates, keep=False
    )
    return rate, choice


def rate_and_finetuning_for(
    config: SubjectConfig,
    recipe: Recipe,
    model: LanguageModel,
    task: Task,
    cell: Cell,
    *,
    candidates: Sequence[float] = CANDIDATES,
    keep: bool = True,
) -> tuple[float, LearningRateChoice | None, Finetuning | None]:
    """Return what `learning_rate_for` does, and where rates were tried the finetuning with the one that was chosen.

    It is the very finetuning that `finetune` makes with that rate and the cell's seed.

    Args:
        config: What is run.
        recipe: The recipe.
        model: The model.
        task: The task.
        cell: The draw of demonstrations.
        candidates: The rates that ``auto`` tries.
        keep: Whether to keep the finetuning, which takes memory while others are tried.

    Raises:
        UserError: As `learning_rate_for`.
    """
    if recipe.learning_rate == "published":
        return published_learning_rate(recipe.name, task.name), None, None
    if recipe.learning_rate != "auto":
        return float(recipe.learning_rate), None, None
    records = held_out_records(task, cell.demonstrations, config.held_out, derive_seed("held out", cell.seed))
    held_out = training_sequences(
        model.require_tokenizer(), task.template, records, context_length=model.context_length
    )
    with Progress("learning rate", len(candidates), "tried") as bar:

        def progress(tried: int, offered: int, best: float | None) -> None:
            bar.reach(tried, offered, "" if best is None else f"best {best:g}")

        choice, finetuning = search_learning_rate(
            model,
            cell.prompts.training,
            held_out,
            recipe,
            derive_seed("finetune", cell.seed),
            candidates,
            progress=progress,
            batch_size=choose_batch_size(model, max(len(sequence.ids) for sequence in held_out), past=0),
            keep=keep,
        )
    return choice.chosen, choice, finetuning
