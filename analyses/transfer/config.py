"""What is asked of updates that are given to the zero-shot run."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from ...hooks.plan import CapturePlan, Site
from ...models.recipe import Recipe
from ...on_command_line import OnCommandLine
from ...settings import Layer, Records
from ..configuration import CellConfig, LearningRate, SubjectConfig, numbers, several, several_recipes

TransferSite = Literal["attention_outputs", "residual", "attention_output"]
_Alpha = Annotated[float, Field(ge=-1000, le=1000)]


def _names(value: Any) -> Any:
    """Accept one name, a list, or ``"residual,attention_output"``."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else several(value)


class TransferConfig(SubjectConfig):
    """Updates of in-context learning and finetuning, given to the zero-shot run at the last token of the prompt.

    Attributes:
        limit: Queries at most; two at least, for means and permutations are of other queries.
        recipes: Ways of finetuning, side by side: presets, YAML files or mappings, each with a name of its own.
        learning_rate: In place of the recipes', which is ``auto`` in every preset: up to 11 rates are tried on
            held-out training records. A number, ``auto`` or ``published``.
        sites: Where updates are given: all ``attention_outputs`` at once; the ``residual`` stream after each layer;
            or one layer's ``attention_output`` at a time, which does little and says little.
        layers: Layers of the sites that are written layer by layer; negative ones count from the end. None is all.
        alphas: By what an update is multiplied; 1 is among them, and 0 leaves the run as it is, bit for bit.
        layer_alphas: The same of the sites that are written layer by layer, which are most of what runs.
        resamples: Bootstrap resamples.
        level: Coverage of the intervals.
    """

    analysis: ClassVar[str] = "transfer"

    limit: Records | None = 64
    recipes: Annotated[
        tuple[Recipe | str | dict[str, Any], ...],
        BeforeValidator(several_recipes),
        Field(min_length=1, max_length=20),
        OnCommandLine(("--recipe",)),
    ] = ("dai",)
    learning_rate: Annotated[LearningRate | None, OnCommandLine(("--lr",))] = None
    sites: Annotated[
        tuple[TransferSite, ...],
        BeforeValidator(_names),
        Field(min_length=1),
        OnCommandLine(example="attention_outputs,residual"),
    ] = ("attention_outputs", "residual")
    layers: Annotated[
        Annotated[tuple[Layer, ...], Field(min_length=1, max_length=1000)] | None,
        BeforeValidator(numbers),
        OnCommandLine(example="0,-1"),
    ] = None
    alphas: Annotated[
        tuple[_Alpha, ...],
        BeforeValidator(numbers),
        Field(min_length=1, max_length=100),
        OnCommandLine(example="0,1"),
    ] = (0.0, 0.5, 1.0, 1.5, 2.0)
    layer_alphas: Annotated[
        tuple[_Alpha, ...],
        BeforeValidator(numbers),
        Field(min_length=1, max_length=100),
        OnCommandLine(example="0,1"),
    ] = (0.0, 1.0)
    resamples: int = Field(default=2000, ge=1, le=1_000_000)
    level: float = Field(default=0.95, gt=0, lt=1)

    @field_validator("sites", "alphas", "layer_alphas")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("one is named twice")
        return values

    @field_validator("alphas", "layer_alphas")
    @classmethod
    def _the_update_itself(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        if 1.0 not in alphas:
            raise ValueError("1, the update itself, must be among them")
        return alphas

    @property
    def captured_sites(self) -> tuple[Site, ...]:
        """What is recorded of each setting."""
        streams: tuple[Site, ...] = ("residual",) if "residual" in self.sites else ()
        return ("attention_output", *streams)

    def finetuning(self, recipe: Recipe) -> CellConfig:
        """Return the comparison whose finetuning and recordings one recipe has."""
        shared = {name: getattr(self, name) for name in SubjectConfig.model_fields}
        return CellConfig(
            **shared,
            recipe=recipe,
            learning_rate=self.learning_rate,
            resamples=self.resamples,
            level=self.level,
            plan=CapturePlan(sites=self.captured_sites),
        )
