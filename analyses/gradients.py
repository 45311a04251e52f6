"""How large each layer's gradients are while finetuning goes through the demonstrations (Bar Natan et al. Fig. 3)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from ..errors import UserError
from ..models.finetuning import finetune
from ..models.loading import LanguageModel
from ..models.parameters import layers_of, select_parameters, untrained_slices
from ..models.recipe import Recipe, load_recipe
from ..probes.gradients import (
    GradientNormRecorder,
    GradientNorms,
    LayerParameters,
)
from ..probes.options import GradientParameters, GradientReduction
from ..seeds import derive_seed
from ..settings import Positive, Shots, make_config
from .cell import Cell, prepare_cell
from .configuration import LearningRate, SubjectConfig, several
from .learning_rates import learning_rate_for
from .prompt import PromptView, view_prompt
from .provenance import surroundings, weights_sha256
from .run_directory import run_directory
from .study_files import write_study
from .subject import Subject, load_subject

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure
    from transformers import PreTrainedModel

    from ..tasks.task import Task


class GradientsConfig(SubjectConfig):
    """A look at gradients while finetuning runs.

    Attributes:
        shots: Demonstrations; the paper takes 32.
        recipes: Ways of finetuning, side by side.
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
        BeforeValidator(several),
        Field(min_length=1, max_length=100),
    ] = ("dai", "barnatan_lcft")
    learning_rate: LearningRate | None = None
    parameters: GradientParameters = "trained"
    reduction: GradientReduction = "token_mean"
    accumulate: bool = False
    loss_scale: Positive = 1.0


@dataclass(frozen=True, eq=False)
class RecipeGradients:
    """The gradients of one finetuning.

    Attributes:
        recipe: Its name.
        seed: Of the draw of demonstrations.
        learning_rate: Its learning rate.
        norms: L2 norm of the gradient by step and layer.
        losses: The loss of each step, before its update.
    """

    recipe: str
    seed: int
    learning_rate: float
    norms: GradientNorms
    losses: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class GradientsStudy:
    """Gradient norms of several recipes on the same demonstrations.

    Attributes:
        config: What was asked for.
        runs: One for each recipe and seed.
        provenance: Versions, device, weights.
        prompt: The prompts of one query of the first draw.
    """

    config: GradientsConfig
    runs: tuple[RecipeGradients, ...]
    provenance: Mapping[str, Any]
    prompt: PromptView | None = None

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipes, in the order asked for."""
        return tuple(dict.fromkeys(run.recipe for run in self.runs))

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers, counted from 0."""
        return self.runs[0].norms.layers

    def of(self, recipe: str) -> tuple[RecipeGradients, ...]:
        """Return the runs of one recipe, one for each seed."""
        found = tuple(run for run in self.runs if run.recipe == recipe)
        if not found:
            raise KeyError(f"no recipe {recipe!r}: there are {', '.join(self.recipes)}")
        return found

    def heatmap(self, recipe: str) -> Tensor:
        """Return the norms by step and layer, mean over seeds, ``[S, L]``."""
        runs = [run.norms.norms for run in self.of(recipe)]
        steps = min(len(norms) for norms in runs)
        return torch.stack([norms[:steps] for norms in runs]).mean(dim=0)

    def layer_means(self, recipe: str) -> Tensor:
        """Return the mean over steps of each layer in each seed, ``[R, L]``."""
        return torch.stack([run.norms.mean_over_steps for run in self.of(recipe)])

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row a recipe, seed, step and layer."""
        import pandas

        return pandas.DataFrame(
            {
                "recipe": run.recipe,
                "seed": run.seed,
                "learning_rate": run.learning_rate,
                **row,
                "loss": run.losses[int(row["step"]) - 1],
            }
            for run in self.runs
            for row in run.norms.to_rows()
        )

    def results(self) -> dict[str, Any]:
        """Return every number as JSON can hold it."""
        return {
            "model": self.config.model,
            "task": self.config.task,
            "parameters": self.config.parameters,
            "reduction": self.config.reduction,
            "accumulate": self.config.accumulate,
            "loss_scale": self.config.loss_scale,
            "layers": list(self.layers),
            "prompt": None if self.prompt is None else self.prompt.to_dict(),
            "runs": [
                {
                    "recipe": run.recipe,
                    "seed": run.seed,
                    "learning_rate": run.learning_rate,
                    "mean_over_steps": run.norms.mean_over_steps.tolist(),
                    "norms": run.norms.norms.tolist(),
                    "losses": list(run.losses),
                }
                for run in self.runs
            ],
        }

    def table(self) -> str:
        """Return the table as text."""
        from ..reports.gradients_report import gradients_text

        return gradients_text(self)

    def __str__(self) -> str:
        """Return the table as text."""
        return self.table()

    def plot(self) -> Figure:
        """Draw the norms by demonstration and layer, one panel a recipe (Bar Natan et al. Fig. 3)."""
        from ..reports.gradients_report import gradients_figure

        return gradients_figure(self)


def gradients(
    config: GradientsConfig | None = None,
    *,
    model: str | LanguageModel | PreTrainedModel | None = None,
    task: str | Task | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    **options: Any,
) -> GradientsStudy:
    """Finetune by each recipe and record the norm of each layer's gradient at each step (R11).

    Args:
        config: Everything about the study; or give its fields as keywords.
        model: A model in memory in place of the configuration's, or its name.
        task: A task in memory in place of the configuration's, or its name.
        out: Write a run directory there.
        overwrite: Replace a finished run directory.
        options: Fields of `GradientsConfig`, such as ``shots=8`` or ``accumulate=True``.

    Raises:
        UserError: If a recipe cannot be used or diverges; nothing is written then.
    """
    named = {name: given for name, given in (("model", model), ("task", task)) if isinstance(given, str)}
    base = config.model_dump(exclude_unset=True) if config else {}
    settings: GradientsConfig = make_config(GradientsConfig, {**base, **options, **named}, "gradients")
    if settings.accumulate and settings.parameters == "trained":
        raise UserError(
            "accumulate concerns gradients of parameters that are not trained: give parameters=layer_all with it"
        )
    # No query is asked; prompts are built with one.
    settings = settings.model_copy(update={"limit": 1})
    recipes = [load_recipe(recipe) for recipe in settings.recipes]
    start = time.perf_counter()
    with nullcontext(None) if out is None else run_directory(Path(out), overwrite=overwrite) as folder:
        subject = load_subject(settings, model, task)
        settings = subject.named(settings)
        cells = [prepare_cell(settings, subject.model, subject.task, seed) for seed in settings.seeds]
        runs = [run for cell in cells for run in _runs(settings, subject, recipes, cell)]
        study = GradientsStudy(
            settings,
            tuple(runs),
            {
                **surroundings(subject.model.device, time.perf_counter() - start),
                "weights_sha256": weights_sha256(subject.model.module),
                "records_sha256": subject.task.digest(),
            },
            view_prompt(subject.model, subject.task, cells[0]),
        )
        if folder is not None:
            write_study(
                folder,
                config=settings,
                results=study.results(),
                table=study.table(),
                frames={"gradients": study.to_pandas()},
                figures={"gradients": study.plot()},
                provenance=study.provenance,
            )
    return study


def _runs(
    config: GradientsConfig, subject: Subject, recipes: Sequence[Recipe], cell: Cell
) -> list[RecipeGradients]:
    done = []
    model, seed = subject.model, derive_seed("finetune", cell.seed)
    for recipe in recipes:
        asked = recipe.learning_rate if config.learning_rate is None else config.learning_rate
        recipe = recipe.model_copy(update={"learning_rate": asked})
        rate, _ = learning_rate_for(config, recipe, model, subject.task, cell)
        recorder = GradientNormRecorder(
            layer_parameters(model, recipe, seed),
            parameters=config.parameters,
            reduction=config.reduction,
            accumulate=config.accumulate,
            loss_scale=config.loss_scale,
        )
        finished = finetune(
            model,
            cell.prompts.training,
            recipe,
            learning_rate=rate,
            seed=seed,
            observe=recorder.observe,
            watch="layers" if config.parameters == "layer_all" else "trained",
        )
        done.append(RecipeGradients(recipe.name, cell.seed, rate, recorder.result(), finished.losses))
    return done


def layer_parameters(model: LanguageModel, recipe: Recipe, seed: int) -> tuple[LayerParameters, ...]:
    """Return which parameters of each decoder layer a recipe trains, by the names that finetuning observes.

    Args:
        model: The model.
        recipe: The recipe.
        seed: Seed of the finetuning, which may draw a layer.

    Raises:
        UserError: If the recipe trains adapters, which have other names.
    """
    if recipe.parameters.startswith("lora_"):
        raise UserError(
            "gradients are shown of the model's own parameters: take attn_kv in place of adapters"
        )
    slices = select_parameters(model, recipe.parameters, recipe.include_bias, seed)
    rest = untrained_slices(model, slices)
    trained = _by_layer(model, {piece.name: piece.name for piece in slices})
    untrained = _by_layer(model, {label: piece.name for label, piece in rest.items()})
    return tuple(
        LayerParameters(layer, trained.get(layer, ()), untrained.get(layer, ()))
        for layer in range(model.n_layers)
    )


def _by_layer(model: LanguageModel, names: Mapping[str, str]) -> dict[int | None, tuple[str, ...]]:
    found: dict[int | None, tuple[str, ...]] = {}
    for label, layer in zip(names, layers_of(model, list(names.values())), strict=True):
        found[layer] = (*found.get(layer, ()), label)
    return found
