"""A study of arms on one model or several, one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...errors import UserError
from ...models.loading import LanguageModel
from ...tasks.task import Task
from ..prompt import PromptView
from ..provenance import provenance
from ..subject import Subject, load_subject, named_task
from .config import ArmsConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Config = TypeVar("Config", bound=ArmsConfig)
Row = TypeVar("Row")


@dataclass(frozen=True, eq=False)
class ModelsRun(Generic[Config, Row]):
    """What a study measured on all of its models.

    Attributes:
        config: The configuration, which names what was run.
        rows: In the order of the models.
        origins: Where each model's numbers came from.
        prompts: What each model was sent for its first query.
    """

    config: Config
    rows: list[Row]
    origins: tuple[dict[str, Any], ...]
    prompts: tuple[PromptView, ...]

    def provenance(self, seconds: float) -> dict[str, Any]:
        """Return where all numbers came from.

        Args:
            seconds: How long the study took.
        """
        first = {**self.origins[0], "seconds": round(seconds, 3)}
        return {**first, "models": [origin["model"] for origin in self.origins]}


def run_models(
    config: Config,
    model: str | LanguageModel | PreTrainedModel | None,
    task: str | Task | None,
    measure: Callable[[Config, Subject], tuple[Sequence[Row], PromptView]],
) -> ModelsRun[Config, Row]:
    """Measure one model after another; one at a time is in memory.

    Args:
        config: The study.
        model: A model in memory, in place of the configuration's.
        task: A task in memory, likewise.
        measure: Measures one model, and returns what it was sent for its first query.

    Raises:
        UserError: If something cannot be loaded, or a model in memory is given beside a list of names.
    """
    in_memory = model is not None and not isinstance(model, str)
    if in_memory and config.models:
        raise UserError("give either a model in memory or the names of several models, not both")
    rows: list[Row] = []
    origins: list[dict[str, Any]] = []
    prompts: list[PromptView] = []
    for name in config.model_names:
        named = config.model_copy(update={"model": name})
        subject = load_subject(named, model if in_memory else None, task)
        measured, prompt = measure(named, subject)
        rows += measured
        prompts.append(prompt)
        origins.append(provenance(subject.model, subject.task, named))
        config = config.model_copy(update=named_task(subject.task))
        if in_memory:
            config = config.model_copy(update={"model": subject.model.name})
    return ModelsRun(config, rows, tuple(origins), tuple(prompts))
