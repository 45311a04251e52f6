"""What is asked of a comparison of in-context learning with finetuning."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ...models.recipe import Recipe
from ...on_command_line import OnCommandLine
from ...settings import Shots
from ..configuration import MeasuringConfig, numbers, several_recipes


class CompareConfig(MeasuringConfig):
    """Comparisons of in-context learning with finetuning: one for each recipe and number of shots.

    Attributes:
        shots: Demonstrations; several numbers side by side.
        recipes: Ways of finetuning, side by side: presets, YAML files or mappings, each with a name of its own.
            One may also be given as ``recipe``.
        finetuned: A model or adapter that somebody else finetuned, in place of a recipe.
        save_captures: Keep the recorded arrays in the run directory.
    """

    analysis: ClassVar[str] = "compare"

    shots: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        tuple[Shots, ...], BeforeValidator(numbers), Field(min_length=1, max_length=100)
    ] = (8,)
    recipes: Annotated[
        tuple[Recipe | str | dict[str, Any], ...],
        BeforeValidator(several_recipes),
        Field(min_length=1, max_length=100),
        OnCommandLine(("--recipe",)),
    ] = ("dai",)
    finetuned: str | None = None
    save_captures: bool = False

    @model_validator(mode="before")
    @classmethod
    def _one_recipe(cls, values: Any) -> Any:
        """Take ``recipe`` for ``recipes``; of both, the later one, as an option comes after a file."""
        if not isinstance(values, dict) or "recipe" not in values:
            return values
        given = list(values)
        rest = {name: value for name, value in values.items() if name != "recipe"}
        if "recipes" in values and given.index("recipes") > given.index("recipe"):
            return rest
        recipe = values["recipe"]
        return {**rest, "recipes": several_recipes(recipe) if isinstance(recipe, str) else (recipe,)}

    @field_validator("shots")
    @classmethod
    def _once(cls, shots: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(shots)) < len(shots):
            raise ValueError("a number of shots is named twice")
        return shots

    @model_validator(mode="after")
    def _finetuned_is_one(self) -> CompareConfig:
        if self.finetuned is not None and len(self.shots) * len(self.recipes) > 1:
            raise ValueError(
                "finetuned (--finetuned) gives one finetuned model, so it goes with one number of shots and without "
                "several recipes"
            )
        return self
