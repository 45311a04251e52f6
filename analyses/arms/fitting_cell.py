"""A draw of demonstrations that finetuning takes whole, whether or not it fits the context window."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import UserError, shown
from ...models.loading import LanguageModel
from ...tasks.demonstrations import choose_queries, draw_demonstrations
from ...tasks.label_words import check_label_words
from ...tasks.prompts import PromptSet, build_prompts
from ...tasks.task import Task
from ..cell import Cell
from ..configuration import SubjectConfig
from ..subject import Subject


@dataclass(frozen=True)
class FittingCell:
    """One draw of demonstrations, all of which are finetuned on.

    Attributes:
        cell: The draw; its in-context prompts hold every demonstration, too many of them or not.
        fits: Whether the in-context prompts fit the context window.
    """

    cell: Cell
    fits: bool


def prepare_fitting_cell(config: SubjectConfig, model: LanguageModel, task: Task, seed: int) -> FittingCell:
    """Draw demonstrations, ask the queries that fit by themselves, and see whether the demonstrations fit too.

    Args:
        config: What is run.
        model: The model.
        task: The task.
        seed: Seed of the draw.

    Raises:
        UserError: If prompts cannot be built, or ``strict_shots`` is set and the demonstrations do not fit.
    """
    demonstrations = draw_demonstrations(task, config.shots, seed, config.balanced, config.order)
    chosen = choose_queries(task, config.limit)
    tokenizer, limit = model.require_tokenizer(), model.context_length
    asked = build_prompts(tokenizer, task.template, (), [task.validation[index] for index in chosen], limit)
    queries = tuple(chosen[index] for index in asked.query_indices)
    records = [task.validation[index] for index in queries]
    prompts = build_prompts(tokenizer, task.template, demonstrations, records, None)
    prompts = replace(prompts, queries_skipped=asked.queries_skipped)
    # The rule of build_prompts, which counts the begin-of-sequence token twice.
    fits = limit is None or prompts.icl.longest + prompts.icl.bos_length < limit
    if config.strict_shots and not fits:
        raise UserError(
            f"{config.shots} demonstrations do not fit the context of {limit} tokens of {shown(model.name)}: ask for "
            "fewer, leave out long records with --max-record-tokens, or allow to go without ICL"
        )
    words = task.template.label_words
    check_label_words(prompts.zero_shot.label_ids, scoring=config.scoring, label_words=words)
    return FittingCell(Cell(seed, demonstrations, queries, prompts), fits)


def icl_prompts(cell: Cell, subject: Subject, order: tuple[int, ...]) -> PromptSet:
    """Return a draw's in-context prompts with its demonstrations in another order.

    Args:
        cell: The draw.
        subject: The model and the task.
        order: A permutation of the demonstrations in use.

    Raises:
        UserError: If they do not fit the context window in that order.
    """
    task, model = subject.task, subject.model
    return build_prompts(
        model.require_tokenizer(),
        task.template,
        [cell.demonstrations[place] for place in order],
        [task.validation[index] for index in cell.queries],
        model.context_length,
        strict_shots=True,
    ).icl
