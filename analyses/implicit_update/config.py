"""What is asked of in-context learning as a change of weights."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from ...models.recipe import Recipe
from ...on_command_line import OnCommandLine
from ...settings import Records
from ..configuration import CellConfig, LearningRate, SubjectConfig

MLP_RECIPE = Recipe(name="dai_mlp", parameters=r"\.(mlp|feed_forward|ffn|fc1|fc2)\.")
"""One pass of SGD as in the preset ``dai``, over the MLPs in place of W_K and W_V."""


class ImplicitUpdateConfig(SubjectConfig):
    """In-context learning as a change of the MLPs' weights, beside what finetuning changes in them.

    Attributes:
        limit: Queries at most, drawn at random from the validation records.
        recipe: How to finetune: a preset, a YAML file or a mapping. One that trains no first map of an MLP leaves the
            alignment undefined.
        learning_rate: In place of the recipe's, which is ``auto`` by default: up to 11 rates are tried on held-out
            training records. A number, ``auto`` or ``published``.
        judged: Give the updates to the zero-shot run, layer by layer, and measure what they do to the answers.
        null_draws: Random pairings of queries for each null.
        resamples: Bootstrap resamples.
        level: Coverage of the intervals.
    """

    analysis: ClassVar[str] = "implicit_update"

    limit: Records | None = 40
    recipe: Recipe | str | dict[str, Any] = MLP_RECIPE
    learning_rate: Annotated[LearningRate | None, OnCommandLine(("--lr",))] = None
    judged: bool = True
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
