"""What an experiment is run on: a model and a task, loaded and ready."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from ..models.loading import LanguageModel, load_model
from ..tasks.catalogue import load_task
from ..tasks.record_length import filter_long_records
from ..tasks.task import Task
from .configuration import SubjectConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

AnyConfig = TypeVar("AnyConfig", bound=SubjectConfig)


@dataclass(frozen=True)
class Subject:
    """A model and a task.

    Attributes:
        model: The model.
        task: The task, without records that are too long.
        left_out: Records over the token limit, in train and validation.
    """

    model: LanguageModel
    task: Task
    left_out: tuple[int, int]

    def named(self, config: AnyConfig) -> AnyConfig:
        """Return a configuration that names what was loaded, for models and tasks that were in memory."""
        return config.model_copy(update={"model": self.model.name, **named_task(self.task)})


def named_task(task: Task) -> dict[str, str]:
    """Return the fields of a configuration that name a task and how it is asked."""
    return {"task": task.name, "chat_template": task.template.chat_template}


def load_subject(
    config: SubjectConfig,
    model: str | LanguageModel | PreTrainedModel | None = None,
    task: str | Task | None = None,
) -> Subject:
    """Load the model and the task of an experiment.

    Args:
        config: What is run.
        model: A model in memory, in place of the configuration's. A name is the configuration's business.
        task: A task in memory, likewise.

    Raises:
        UserError: If one of them cannot be loaded, or no record is short enough.
    """
    loaded = _load_model(config) if model is None or isinstance(model, str) else load_model(model)
    chosen, left_out = load_records(config, loaded.require_tokenizer(), task)
    return Subject(loaded, chosen, left_out)


def load_records(
    config: SubjectConfig, tokenizer: PreTrainedTokenizerBase, task: str | Task | None = None
) -> tuple[Task, tuple[int, int]]:
    """Load the task of an experiment, without the records that are too long, and return how many those are.

    Args:
        config: What is run.
        tokenizer: The model's.
        task: A task in memory, in place of the configuration's.

    Raises:
        UserError: If it cannot be loaded, or no record is short enough.
    """
    chosen = _asked_as_configured(task if isinstance(task, Task) else _load_task(config), config)
    if config.max_record_tokens is None:
        return chosen, (0, 0)
    filtered = filter_long_records(chosen, tokenizer, config.max_record_tokens)
    return filtered.task, (filtered.train_removed, filtered.validation_removed)


def _asked_as_configured(task: Task, config: SubjectConfig) -> Task:
    """Put a task's prompts into a chat where that is asked for; its template carries it to all that build prompts."""
    if config.chat_template == "off":
        return task
    return replace(task, template=replace(task.template, chat_template=config.chat_template))


def _load_model(config: SubjectConfig) -> LanguageModel:
    return load_model(
        config.model,
        revision=config.revision,
        dtype=config.dtype,
        device=config.device,
        adapter=config.adapter,
    )


def _load_task(config: SubjectConfig) -> Task:
    return load_task(
        config.task,
        template=config.template,
        label_words=config.label_words,
        data=config.data,
        columns=config.columns or None,
        separator=config.separator,
    )
