"""What is asked of gradients while finetuning runs."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from ...models.recipe import Recipe
from ...on_command_line import OnCommandLine
from ...probes.options import GradientParameters, GradientReduction
from ...settings import Positive, Shots
from ..configuration import LearningRate, SubjectConfig, several_recipes


class GradientsConfig(SubjectConfig):
    """A look at gradients while finetuning runs.

    Attributes:
        shots: Demonstrations; the paper takes 32.
        recipes: Ways of finetuning, side by side: presets, YAML files or mappings.
        learning_rate: In place of the recipes': a number, ``auto`` or ``published``.
        parameters: Whose gradients: those of the ``trained`` parameters of each layer, or of all of them,
            ``layer_all``, as the reference logs them (R11).
        reduction: ``token_mean``, or ``token_sum`` as in the reference's half-precision runs.
        accumulate: Let gradients of parameters that are not trained pile up over demonstrations, which is the
            reference's artefact D10; needs ``layer_all``.
        loss_scale: A factor on the loss; the reference's half-precision runs have 4.
    """

    analysis: ClassVar[str] = "gradients"

    shots: Shots = 32
    recipes: Annotated[
        tuple[Recipe | str | dict[str, Any], ...],
        BeforeValidator(several_recipes),
        Field(min_length=1, max_length=100),
        OnCommandLine(("--recipe",)),
    ] = ("dai", "barnatan_lcft")
    learning_rate: Annotated[LearningRate | None, OnCommandLine(("--lr",))] = None
    parameters: GradientParameters = "trained"
    reduction: GradientReduction = "token_mean"
    accumulate: bool = False
    loss_scale: Positive = 1.0

    @model_validator(mode="after")
    def _something_piles_up(self) -> GradientsConfig:
        if self.accumulate and self.parameters == "trained":
            raise ValueError(
                "accumulate concerns gradients of parameters that are not trained: give parameters=layer_all with it"
            )
        return self
