"""What the analyses of order sensitivity and of outputs share: arms resolved for a model, their rates, and runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from ...errors import UserError, shown
from ...hooks.repeated_queries import RepeatedQueries
from ...models.depth import Depth, draw_layers
from ...models.finetuning import finetune
from ...models.loading import LanguageModel
from ...models.parameters import first_trained_layer, select_parameters
from ...models.recipe import Recipe
from ...models.stepper import FinetuningDiverged
from ...progress import Progress
from ...seeds import derive_seed
from ...tasks.prompt_set import TrainingSequence
from ...tasks.prompts import PromptSet
from ...tasks.task import Task
from ..cell import Cell
from ..configuration import SubjectConfig
from ..learning_rates import learning_rate_for
from .config import ArmsConfig

_DRAWN = re.compile(r"(?P<projections>.+)@(?P<depth>deep|middle)")


@dataclass(frozen=True)
class Arm:
    """One way of finetuning one model.

    Attributes:
        name: What it is called.
        recipe: How to finetune; a drawn layer is named in it.
        layer: The layer that was drawn, counted from 0; None where none was.
        learning_rates: Numbers, or ``auto``, or ``published``.
    """

    name: str
    recipe: Recipe
    layer: int | None
    learning_rates: tuple[float, ...] | str

    @property
    def chosen(self) -> bool:
        """Whether the learning rate is chosen for each draw of demonstrations."""
        return self.learning_rates == "auto"

    def epochs(self) -> tuple[int, ...]:
        """The epochs, counted from 1, after which it is evaluated."""
        return tuple(epoch for epoch in range(1, self.recipe.epochs + 1) if self.recipe.is_evaluated(epoch))


def arms_of(config: ArmsConfig, model: LanguageModel) -> tuple[Arm, ...]:
    """Resolve the arms of a study for one model; an arm with a drawn layer comes once for each layer drawn.

    The layers are drawn once and serve every draw of demonstrations, order and learning rate.

    Args:
        config: The study.
        model: The model.

    Raises:
        UserError: If a recipe cannot be used with the model, or rates are given to an arm that there is not.
    """
    recipes = config.resolved_recipes()
    _check_rate_names(config, recipes)
    arms = []
    for name, recipe in recipes.items():
        rates = _rates_given(config, name, recipe)
        drawn = _DRAWN.fullmatch(recipe.parameters)
        if drawn is None:
            arms.append(Arm(name, recipe, None, rates))
            continue
        for place in draw_layers(len(model.parts), cast(Depth, drawn["depth"]), config.draw_layers):
            layer = model.parts[place].index
            chosen = recipe.model_copy(update={"parameters": f"{drawn['projections']}@{layer}"})
            arms.append(Arm(name, chosen, layer, rates))
    for arm in arms:
        select_parameters(model, arm.recipe.parameters, arm.recipe.include_bias)
    return tuple(arms)


class LearningRates:
    """The learning rates of arms; what ``auto`` chose for one arm and draw serves all layers drawn for it."""

    def __init__(self, config: ArmsConfig, subject: SubjectConfig, model: LanguageModel, task: Task) -> None:
        """Choose nothing yet.

        Args:
            config: The study.
            subject: What is run.
            model: The model.
            task: The task, whose training records choose the rates.
        """
        self._config, self._subject, self._model, self._task = config, subject, model, task
        self._chosen: dict[tuple[str, int], float] = {}

    def of(self, arm: Arm, cell: Cell) -> tuple[float, ...]:
        """Return an arm's learning rates on one draw of demonstrations.

        Raises:
            UserError: If none can be chosen.
        """
        if not isinstance(arm.learning_rates, str):
            return arm.learning_rates
        key = arm.name, cell.seed
        if key not in self._chosen:
            recipe = arm.recipe.model_copy(update={"learning_rate": arm.learning_rates})
            self._chosen[key], _ = learning_rate_for(
                self._subject,
                recipe,
                self._model,
                self._task,
                cell,
                candidates=self._config.candidates,
            )
        return (self._chosen[key],)


class AskedQueries:
    """The queries of a study, prepared once for every set of prompts and every lowest layer that changes."""

    def __init__(self, config: SubjectConfig, model: LanguageModel) -> None:
        """Prepare nothing yet.

        Args:
            config: What is run.
            model: The model.
        """
        self._config, self._model = config, model
        self._prepared: dict[tuple[str, int], RepeatedQueries] = {}

    def of(self, prompts: PromptSet, recipe: Recipe) -> RepeatedQueries:
        """Return the queries for a model that is finetuned by a recipe."""
        layer = first_trained_layer(self._model, recipe)
        key = prompts.digest(), layer
        if key not in self._prepared:
            self._prepared[key] = RepeatedQueries(
                self._model,
                prompts,
                first_trained_layer=layer,
                batch_size=self._config.batch_size,
                scoring=self._config.scoring,
            )
        return self._prepared[key]


def run_arm(
    model: LanguageModel,
    training: Sequence[TrainingSequence],
    arm: Arm,
    learning_rate: float,
    seed: int,
    evaluate: Callable[[int], None],
) -> bool:
    """Finetune and evaluate along the way; return False where it diverged.

    Args:
        model: The model; it is left as it was.
        training: The demonstrations, in the order in which they are trained on.
        arm: How.
        learning_rate: The learning rate.
        seed: The draw's seed.
        evaluate: Called with the epoch while the model holds what it has learned.
    """
    try:
        finetune(
            model,
            training,
            arm.recipe,
            learning_rate=learning_rate,
            seed=derive_seed("finetune", seed),
            evaluate=evaluate,
        )
    except FinetuningDiverged:
        return False
    return True


def require_some_rate(tried: Mapping[tuple[str, float], bool]) -> None:
    """Refuse a draw of demonstrations on which every arm diverged with every learning rate.

    Args:
        tried: Whether each arm and rate ended well.

    Raises:
        UserError: If none did.
    """
    if tried and not any(tried.values()):
        names = ", ".join(dict.fromkeys(name for name, _ in tried))
        rates = sorted({rate for _, rate in tried})
        raise UserError(
            f"finetuning ({names}) diverged with every learning rate from {rates[0]:g} to {rates[-1]:g}; the "
            "model is as it was, so take smaller learning rates, or auto"
        )


def finetuning_bar(total: int, name: str) -> Progress:
    """Return a progress bar over finetuning runs."""
    return Progress(name, total, "runs")


def _check_rate_names(config: ArmsConfig, recipes: Mapping[str, Recipe]) -> None:
    if not isinstance(config.learning_rates, dict):
        return
    known = {*recipes, *config.arms}
    for name in config.learning_rates:
        if name not in known:
            raise UserError(
                f"learning rates are given for {shown(name)}, and the arms are {', '.join(recipes)}"
            )


def _rates_given(config: ArmsConfig, name: str, recipe: Recipe) -> tuple[float, ...] | str:
    given = config.learning_rates
    if isinstance(given, dict):
        given = given.get(name, given.get(name.rsplit(", batch ", 1)[0]))
    if given is not None:
        return given
    own = recipe.learning_rate
    return own if isinstance(own, str) else (own,)
