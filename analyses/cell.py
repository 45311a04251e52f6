"""One draw of demonstrations, as a model is given it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError
from ..models.loading import LanguageModel, PromptingModel
from ..tasks.demonstrations import choose_queries, draw_demonstrations
from ..tasks.label_words import check_label_words
from ..tasks.prompts import TaskPrompts, build_prompts
from ..tasks.task import Record, Task
from .configuration import SubjectConfig


@dataclass(frozen=True)
class Cell:
    """One draw of demonstrations as the model is given it.

    Attributes:
        seed: The seed of the draw.
        demonstrations: In the order that ICL and finetuning share.
        queries: Index of each query among the task's validation records; a record knows its place in its file.
        prompts: Token ids of all settings.
    """

    seed: int
    demonstrations: tuple[Record, ...]
    queries: tuple[int, ...]
    prompts: TaskPrompts


def prepare_cell(config: SubjectConfig, model: LanguageModel | PromptingModel, task: Task, seed: int) -> Cell:
    """Draw demonstrations and build the prompts of all settings."""
    demonstrations = draw_demonstrations(task, config.shots, seed, config.balanced, config.order)
    return cell_of(config, model, task, seed, demonstrations)


def cell_of(
    config: SubjectConfig,
    model: LanguageModel | PromptingModel,
    task: Task,
    seed: int,
    demonstrations: Sequence[Record],
    queries: Sequence[int] | None = None,
) -> Cell:
    """Build the prompts of all settings from demonstrations.

    Args:
        config: What is run.
        model: The model, whose tokenizer and context window make the prompts.
        task: The task, whose validation records are asked.
        seed: The seed of the draw.
        demonstrations: In the order that ICL and finetuning share.
        queries: Index of each query among the validation records; None is those that the configuration asks.

    Raises:
        UserError: If there is no such query, or prompts cannot be built.
    """
    chosen = choose_queries(task, config.limit) if queries is None else tuple(queries)
    unknown = next((query for query in chosen if not 0 <= query < len(task.validation)), None)
    if unknown is not None:
        raise UserError(
            f"there is no query {unknown}: the task has validation records 0 to {len(task.validation) - 1} (--query)"
        )
    prompts = build_prompts(
        model.require_tokenizer(),
        task.template,
        demonstrations,
        [task.validation[index] for index in chosen],
        model.context_length,
        strict_shots=config.strict_shots,
        match_demonstrations=config.match_demonstrations,
    )
    words = task.template.label_words
    check_label_words(prompts.zero_shot.label_ids, scoring=config.scoring, label_words=words)
    return Cell(seed, tuple(demonstrations), tuple(chosen[index] for index in prompts.query_indices), prompts)
