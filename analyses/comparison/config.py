"""What is asked of a comparison of in-context learning with finetuning."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ...models.recipe import Recipe
from ...on_command_line import OnCommandLine, same_text
from ...settings import Shots
from ..configuration import MeasuringConfig, numbers, several_recipes
from ..weights.named_checkpoints import Checkpoints, RevisionTemplate, Steps


def _naming_some(value: Any) -> Any:
    if isinstance(value, str) and not value.strip(" ,"):
        raise ValueError("it names no model")
    return value


class CompareConfig(MeasuringConfig):
    """Comparisons of in-context learning with finetuning: one for each recipe or finetuned model and number of shots.

    Attributes:
        shots: Demonstrations; several numbers side by side.
        recipes: Ways of finetuning, side by side: presets, YAML files or mappings, each with a name of its own.
            One may also be given as ``recipe``.
        finetuned: Models or PEFT adapters that somebody else finetuned, in place of recipes, side by side: folders,
            hub ids, model@revision. One trainer's folder, or a glob such as out/checkpoint-*, is the series of its
            checkpoints.
        steps: Steps of the one repository that finetuned names, with a revision for each.
        revision_template: How a step's revision is called. [default: step{step}]
        save_captures: Keep the recorded arrays in the run directory.
        keep_rows: Of so many queries of the first draw, the attention scores that are compared are kept to be looked
            at, in all layers, heads and settings; 0 for none.
        keep_maps: Of so many of them, the attention of every token of the query is kept as well.
        keep_megabytes: What is kept to be looked at takes no more than this: of fewer queries, where it would.
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
    finetuned: Annotated[
        Checkpoints,
        BeforeValidator(_naming_some),
        Field(max_length=1000),
        OnCommandLine(read=same_text, example="MODEL,…"),
    ] = ()
    steps: Steps = None
    revision_template: RevisionTemplate = None
    save_captures: bool = False
    keep_rows: int = Field(default=50, ge=0, le=1_000_000)
    keep_maps: int = Field(default=3, ge=0, le=1_000_000)
    keep_megabytes: float = Field(default=50, ge=0, le=1e9)

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
    def _one_or_the_other(self) -> CompareConfig:
        if self.finetuned and len(self.recipes) > 1:
            raise ValueError(
                "finetuned (--finetuned) gives what is finetuned, so it goes without several recipes"
            )
        of_one = len(self.finetuned) == 1 and self.finetuned[0].revision is None
        if self.steps is not None and not of_one:
            raise ValueError(
                "steps (--steps) are revisions of one repository: give it as finetuned (--finetuned)"
            )
        if self.revision_template is not None and self.steps is None:
            raise ValueError(
                "revision_template (--revision-template) is how steps are called: give steps (--steps)"
            )
        return self
