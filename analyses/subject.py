"""What an experiment is run on: a model and a task, loaded and ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ..models.loading import LanguageModel, load_model
from ..tasks.catalogue import load_task
from ..tasks.record_length import filter_long_records
from ..tasks.task import Task
from .configuration import SubjectConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
        return config.model_copy(update={"model": self.model.name, "task": self.task.name})


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
    loaded = _load_model(config) if model is None or isinstance(model, str) else _taken(config, model)
    chosen = task if isinstance(task, Task) else _load_task(config)
    if config.max_record_tokens is None:
        return Subject(loaded, chosen, (0, 0))
    filtered = filter_long_records(chosen, loaded.require_tokenizer(), config.max_record_tokens)
    return Subject(loaded, filtered.task, (filtered.train_removed, filtered.validation_removed))


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
    )
