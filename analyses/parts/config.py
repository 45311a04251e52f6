"""What is asked of direct and inherited parts."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from ...models.recipe import Recipe
from ...on_command_line import OnCommandLine
from ...settings import Records
from ..configuration import CellConfig, LearningRate, SubjectConfig


class PartsConfig(SubjectConfig):
    """Both updates of the attention output, by ICL and by finetuning, in a direct and an inherited part.

    Attributes:
        limit: Queries at most, drawn at random from the validation records.
        recipe: How to finetune: a preset, a YAML file or a mapping.
        learning_rate: In place of the recipe's, which is ``auto`` in every preset: up to 11 rates are tried on
            held-out training records. A number, ``auto`` or ``published``.
        null_draws: Random pairings of queries for each null.
        resamples: Bootstrap resamples.
        level: Coverage of the intervals.
    """

    analysis: ClassVar[str] = "parts"

    limit: Records | None = 100
    recipe: Recipe | str | dict[str, Any] = "dai"
    learning_rate: Annotated[LearningRate | None, OnCommandLine(("--lr",))] = None
    null_draws: int = Field(default=10, ge=1, le=10_000)
    resamples: int = Field(default=2000, ge=1, le=1_000_000)
    level: float = Field(default=0.95, gt=0, lt=1)

    def finetuning(self) -> CellConfig:
        """Return the comparison whose finetuning this has."""
        shared = {name: getattr(self, name) for name in SubjectConfig.model_fields}
        own = {
            name: getattr(self, name)
            for name in ("recipe", "learning_rate", "null_draws", "resamples", "level")
        }
        return CellConfig(**{**shared, **own})
