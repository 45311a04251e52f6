"""The controls that there are, and what a study of them does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator

from ...models.recipe import Recipe
from ...on_command_line import OnCommandLine, same_text
from ..configuration import MeasuringConfig
from ..given_data import Data

ControlName = Literal[
    "none", "untrained", "permuted_labels", "shuffled_prefix", "other_task", "random_update"
]

CONTROLS: Mapping[ControlName, str] = {
    "none": "the comparison itself",
    "untrained": "random decoder layers between the model's own embeddings, norms and unembedding",
    "permuted_labels": "the demonstrations have each other's labels, in context and for finetuning",
    "shuffled_prefix": "the context holds the same tokens in random order",
    "other_task": "the context holds as many tokens of another task's demonstrations",
    "random_update": "finetuning's change of every tensor replaced by a Gaussian one of the same norm",
}
"""Every control and what is different under it; all else stays as it is."""


def _names(value: Any) -> Any:
    """Accept several names, one, a list with commas, or ``all``."""
    if isinstance(value, str):
        return get_args(ControlName) if value == "all" else tuple(part.strip() for part in value.split(","))
    return value


class ControlsConfig(MeasuringConfig):
    """One comparison under several controls.

    Attributes:
        recipe: A preset, a YAML file or a mapping.
        controls: Which controls, or ``all``; ``none`` is the comparison itself.
        other_task: The task of the catalogue whose demonstrations stand in the context of ``other_task``; by default
            the next one that needs no network and has other labels.
        other_data: Where the records of the other task are, in place of the hub.
    """

    analysis: ClassVar[str] = "controls"

    recipe: Recipe | str | dict[str, Any] = "dai"
    controls: Annotated[
        tuple[ControlName, ...],
        BeforeValidator(_names),
        Field(min_length=1),
        OnCommandLine(read=same_text, example="none,untrained"),
    ] = get_args(ControlName)
    other_task: str | None = None
    other_data: Annotated[Data | None, OnCommandLine(read=same_text, example="FOLDER")] = None

    @field_validator("controls")
    @classmethod
    def _once(cls, controls: tuple[ControlName, ...]) -> tuple[ControlName, ...]:
        if len(set(controls)) < len(controls):
            raise ValueError("a control is named twice")
        return controls
