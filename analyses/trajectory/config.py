"""Along which learning rates and steps a comparison is looked at."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, field_validator

from ...models.recipe import Recipe
from ...on_command_line import OnCommandLine
from ...settings import Epochs, Positive, Shots
from ..configuration import MeasuringConfig, numbers

_Step = Annotated[int, Field(ge=1, le=100_000_000)]


class TrajectoryConfig(MeasuringConfig):
    """A comparison along finetuning, at several learning rates and numbers of shots.

    Attributes:
        shots: Demonstrations; several numbers side by side.
        recipe: A preset, a YAML file or a mapping.
        learning_rate: The rates, all numbers, for a rate is what the study varies.
        epochs: Passes over the demonstrations, in place of the recipe's.
        steps: The steps to look at; those that a run does not reach are left out. By default 1, 2, 4 and so on,
            and the last one, which is always looked at.
    """

    analysis: ClassVar[str] = "trajectory"

    shots: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        tuple[Shots, ...], BeforeValidator(numbers), Field(min_length=1, max_length=100)
    ] = (8,)
    recipe: Recipe | str | dict[str, Any] = "dai"
    learning_rate: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        tuple[Positive, ...],
        BeforeValidator(numbers),
        Field(min_length=1, max_length=100),
        OnCommandLine(("--lr",), example="1e-3,1e-2"),
    ] = (1e-3, 3e-3, 1e-2, 3e-2)
    epochs: Epochs | None = None
    steps: Annotated[
        Annotated[tuple[_Step, ...], Field(min_length=1, max_length=1000)] | None,
        BeforeValidator(numbers),
        OnCommandLine(example="1,4,16"),
    ] = None

    @field_validator("shots", "learning_rate")
    @classmethod
    def _once(cls, given: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(given)) < len(given):
            raise ValueError("a number is named twice")
        return given
