"""Which ways of finetuning a study lays beside in-context learning: its arms, their learning rates and epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from ...errors import shown
from ...models.recipe import Recipe, load_recipe, require_text
from ...on_command_line import OnCommandLine, same_text
from ...settings import LARGEST, BatchSize, Epochs, Records
from ...study.names import ARM_NAMES
from ..configuration import Seeds, SubjectConfig, numbers

# Decades: a rate that diverges costs a few steps, and a study asks which algorithm, not which third of a decade.
STUDY_CANDIDATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)

RecipeSource = Recipe | str | dict[str, Any]
Rates = tuple[float, ...] | Literal["auto"]


def rate_values(value: Any) -> Rates:
    """Read one learning rate, a list, ``"1e-3,1e-2"`` or ``auto``.

    Raises:
        ValueError: If they are no positive numbers.
    """
    if value == "auto":
        return "auto"
    if isinstance(value, str):
        value = value.split(",")
    try:
        given = tuple((value,) if isinstance(value, int | float) else value)
        # A truth value is no rate.
        rates = tuple(math.nan if isinstance(rate, bool) else float(rate) for rate in given)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("give positive numbers such as 1e-3,1e-2, or auto") from error
    if not rates or not all(0 < rate <= LARGEST for rate in rates) or len(set(rates)) < len(rates):
        raise ValueError(f"give different positive numbers such as 1e-3,1e-2, at most {LARGEST:g}, or auto")
    return rates


def study_rates(value: Any) -> Rates | dict[str, Rates] | None:
    """Read learning rates for all arms, or for each arm by its name; None stays."""
    if isinstance(value, Mapping):
        return {str(name): rate_values(rates) for name, rates in value.items()}
    return None if value is None else rate_values(value)


def candidate_rates(value: Any) -> tuple[float, ...]:
    """Read the learning rates to choose from, and put them in order."""
    rates = rate_values(value)
    if isinstance(rates, str):
        raise ValueError("give positive numbers such as 1e-3,1e-2")
    return tuple(sorted(rates))


def named_arms(value: Any) -> Any:
    """Give every arm of a list, or of ``"shen,shen_sgd"``, its name; a mapping of names stays as it is."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if isinstance(value, Recipe):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError("give recipes, such as shen,shen_sgd")
    arms: dict[str, Any] = {}
    for source in value:
        if not isinstance(source, str | Recipe | dict):
            raise ValueError(f"{shown(source)} is no recipe: give a preset's name, a YAML file or a mapping")
        name = arm_name(source)
        if name in arms:
            raise ValueError(f"two arms are called {shown(name)}: give a mapping of names to recipes")
        arms[name] = source
    return arms


def arm_name(source: RecipeSource) -> str:
    """Return what an arm is called that was given as a recipe alone."""
    if isinstance(source, str):
        return ARM_NAMES.get(source, Path(source).stem or source)
    name = (
        source.name if isinstance(source, Recipe) else str(source.get("name", source.get("preset", "custom")))
    )
    return ARM_NAMES.get(name, name)


Arms = Annotated[
    dict[str, RecipeSource],
    BeforeValidator(named_arms),
    Field(min_length=1, max_length=100),
    OnCommandLine(read=same_text, example="shen,shen_sgd"),
]
BatchSizes = Annotated[tuple[BatchSize, ...], BeforeValidator(numbers), Field(max_length=100)]


def short_arms(presets: tuple[str, ...], epochs: int, evaluation_epochs: int) -> dict[str, RecipeSource]:
    """Return presets as arms of fewer epochs than their paper's 200, for studies that finetune many times."""
    changes = {"epochs": epochs, "evaluation_epochs": evaluation_epochs}
    return {ARM_NAMES.get(name, name): {"preset": name, **changes} for name in presets}


class ArmsConfig(SubjectConfig):
    """A study of several ways of finetuning over several draws of demonstrations, on one model or several.

    Attributes:
        models: Run on each of these, one after another, in place of ``model``.
        arms: Recipes (presets, YAML files, mappings), as a list or by the names they shall have.
        learning_rates: Numbers for all arms; ``auto``, chosen on held-out training records once for each arm
            and draw; a mapping from arms' names to either. None is the recipe's own, ``auto`` for presets.
        candidates: The rates that ``auto`` tries.
        epochs: Passes over the demonstrations, in place of the recipes'.
        evaluation_epochs: Evaluate after every so many epochs, in place of the recipes'.
        batch_sizes: Run each arm of SGD at these batch sizes, in place of its own (Shen et al. Fig. 7).
        draw_layers: Layers that an arm with a drawn layer is repeated with (four in Shen et al.; R17).
    """

    seeds: Seeds = (0, 1, 2)
    limit: Records | None = 64
    models: tuple[str, ...] = ()
    arms: Arms
    learning_rates: Annotated[
        Rates | dict[str, Rates] | None,
        PlainValidator(study_rates),
        OnCommandLine(("--lr",), example="'GD=0.1;Adam=1e-4,1e-3'"),
    ] = None
    candidates: Annotated[tuple[float, ...], PlainValidator(candidate_rates)] = STUDY_CANDIDATES
    epochs: Epochs | None = None
    evaluation_epochs: Epochs | None = None
    batch_sizes: BatchSizes = ()
    draw_layers: int = Field(default=4, ge=1, le=1000)

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models, in the order in which they run."""
        return self.models or (self.model,)

    @property
    def run_name(self) -> tuple[str, ...]:
        """Return what names a run directory: the analysis, the models, the task, shots and seeds."""
        shots: Any = self.shots
        numbers_of = "-".join(map(str, shots)) if isinstance(shots, tuple) else str(shots)
        seeds = "-".join(map(str, self.seeds))
        names = "-".join(name.rstrip("/").rsplit("/", 1)[-1] for name in self.model_names)
        ending = f"{numbers_of}shots-seed{'s' * (len(self.seeds) > 1)}{seeds}"
        return (self.analysis, names, self.task, ending)

    def subject(self, model: str, shots: int) -> SubjectConfig:
        """Return what is run of one model and one number of demonstrations."""
        kept = {name: getattr(self, name) for name in SubjectConfig.model_fields}
        return SubjectConfig(**{**kept, "model": model, "shots": shots})

    def resolved_recipes(self) -> dict[str, Recipe]:
        """Return every arm's recipe, with this study's epochs and batch sizes in it.

        Raises:
            UserError: If a recipe does not exist, cannot be followed, or imitates ICL.
        """
        given = {"epochs": self.epochs, "evaluation_epochs": self.evaluation_epochs}
        changes = {name: value for name, value in given.items() if value is not None}
        recipes: dict[str, Recipe] = {}
        for name, source in self.arms.items():
            recipe = load_recipe(source).model_copy(update=changes)
            require_text(recipe, self.analysis)
            if recipe.optimizer != "sgd" or not self.batch_sizes:
                recipes[name] = recipe
                continue
            for size in self.batch_sizes:
                recipes[f"{name}, batch {size}"] = recipe.model_copy(update={"batch_size": size})
        return recipes


def check_arms(config: ArmsConfig) -> None:
    """Refuse what no finetuning can follow, before anything is loaded.

    Raises:
        UserError: If a recipe does not exist, cannot be followed, or imitates ICL.
    """
    config.resolved_recipes()
