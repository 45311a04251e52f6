"""What an experiment is run on: a model and a task, loaded and ready."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from ..models.loading import LanguageModel, load_model
from ..tasks.catalogue import load_task
from ..tasks.record_length import filter_long_records
from ..tasks.seen_queries import without_seen_queries
from ..tasks.task import Task
from .configuration import SubjectConfig
from .public_settings import without_secrets
from .shared import Shared

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

AnyConfig = TypeVar("AnyConfig", bound=SubjectConfig)


@dataclass(frozen=True)
class Subject:
    """A model and a task.

    Attributes:
        model: The model.
        task: The task, without records that are too long and queries that its training records hold.
        left_out: Records over the token limit, in train and validation.
        seen_queries: Validation records that also stand in the training records, and are not asked.
    """

    model: LanguageModel
    task: Task
    left_out: tuple[int, int]
    seen_queries: int = 0

    def named(self, config: AnyConfig) -> AnyConfig:
        """Return a configuration that names what was loaded, for models and tasks that were in memory."""
        named = config.model_copy(update={"model": self.model.name, **named_task(self.task)})
        return without_secrets(named)


def named_task(task: Task) -> dict[str, str]:
    """Return the fields of a configuration that name a task and how it is asked."""
    return {"task": task.name, "chat_template": task.template.chat_template}


def load_subject(
    config: SubjectConfig,
    model: str | LanguageModel | PreTrainedModel | None = None,
    task: str | Task | None = None,
    shared: Shared | None = None,
) -> Subject:
    """Load the model and the task of an experiment.

    Args:
        config: What is run.
        model: A model in memory, in place of the configuration's. A name is the configuration's business.
        task: A task in memory, likewise.
        shared: What earlier runs have loaded.

    Raises:
        UserError: If one of them cannot be loaded, no record is short enough, or no query is left that the training
            records do not hold.
    """
    records = load_records(config, task)
    if model is not None and not isinstance(model, str):
        loaded = _taken(config, model)
    elif shared is None:
        loaded = _load_model(config)
    else:
        loaded = shared.model(config, lambda: _load_model(config))
    short, left_out = short_records(config, records.task, loaded.require_tokenizer())
    return Subject(loaded, short, left_out, records.seen_queries)


@dataclass(frozen=True)
class Records:
    """The task of an experiment, before any model is there.

    Attributes:
        task: The task, without queries that its training records hold.
        seen_queries: How many those were.
    """

    task: Task
    seen_queries: int


def load_records(config: SubjectConfig, task: str | Task | None = None) -> Records:
    """Load the task of an experiment, and warn of what the user did not decide about its records.

    Args:
        config: What is run.
        task: A task in memory, in place of the configuration's.

    Raises:
        UserError: If it cannot be loaded, or no query is left that the training records do not hold.
    """
    if isinstance(task, Task):
        chosen, notes = task, _overruled(config)
    else:
        chosen = _load_task(config)
        notes = chosen.notes
    unseen, seen = without_seen_queries(_asked_as_configured(chosen, config))
    if seen:
        notes += (f"{seen} queries also stand in the training records, and are not asked",)
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=3)
    return Records(unseen, seen)


def short_records(
    config: SubjectConfig, task: Task, tokenizer: PreTrainedTokenizerBase
) -> tuple[Task, tuple[int, int]]:
    """Leave out the records that are too long, and return how many those are in train and validation.

    Raises:
        UserError: If no record is short enough.
    """
    if config.max_record_tokens is None:
        return task, (0, 0)
    filtered = filter_long_records(task, tokenizer, config.max_record_tokens)
    return filtered.task, (filtered.train_removed, filtered.validation_removed)


def _asked_as_configured(task: Task, config: SubjectConfig) -> Task:
    """Put a task's prompts into a chat where that is asked for; its template carries it to all that build prompts."""
    if config.chat_template == "off":
        return task
    return replace(task, template=replace(task.template, chat_template=config.chat_template))


def _overruled(config: SubjectConfig) -> tuple[str, ...]:
    """Say which fields of a configuration have no effect beside a task in memory; nothing where there is none."""
    fields = ("data", "columns", "template", "label_words", "separator")
    given = [name for name in fields if getattr(config, name)]
    if not given:
        return ()
    return (f"a task in memory has its own {', '.join(given)}, so what was given as such is not used",)


def _load_model(config: SubjectConfig) -> LanguageModel:
    return load_model(
        config.model,
        revision=config.revision,
        dtype=config.dtype,
        device=config.device,
        adapter=config.adapter,
        tokenizer=config.tokenizer,
        trust_remote_code=config.trust_remote_code,
    )


def _taken(config: SubjectConfig, model: LanguageModel | PreTrainedModel) -> LanguageModel:
    """Return a model in memory, with the tokenizer that the configuration names."""
    return load_model(model, tokenizer=config.tokenizer, trust_remote_code=config.trust_remote_code)


def _load_task(config: SubjectConfig) -> Task:
    return load_task(
        config.task,
        template=config.template,
        label_words=config.label_words,
        data=config.data,
        columns=config.columns or None,
        separator=config.separator,
        quoting=config.quoting,
    )
