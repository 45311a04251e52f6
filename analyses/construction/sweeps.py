"""Where a trained layer and gradient descent part: between their weights, out of distribution, at other lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...probes.constructions import von_oswald_construction
from ...probes.function_agreement import (
    implicit_weight_difference,
    implicit_weights,
    squared_prediction_difference,
)
from ...probes.linear_attention import LinearSelfAttention, interpolate_layers
from ...probes.linear_estimators import gradient_descent, least_squares, ridge
from ...seeds import derive_seed
from .config import ConstructionConfig
from .regression_tasks import RegressionTasks, draw_regression_tasks
from .training import layer_predictions, regression_loss

TRAINED = "trained layer"
DESCENT = "gradient descent"
INTERPOLATED = "interpolated"


@dataclass(frozen=True, eq=False)
class Sweep:
    """Several learners on tasks, or with weights, that change step by step.

    Attributes:
        varied: What changes.
        values: Its values.
        losses: For each learner the mean of ½ ‖f - y‖², `[S]` float64.
        differences: For each learner but the trained layer, mean ‖f - f_trained‖, `[S]` float64.
    """

    varied: str
    values: tuple[float, ...]
    losses: Mapping[str, Tensor]
    differences: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        """Check that every learner has a number at every value."""
        shapes = {tuple(numbers.shape) for numbers in (*self.losses.values(), *self.differences.values())}
        if shapes != {(len(self.values),)}:
            raise ValueError(f"{len(self.values)} values need as many numbers of each learner, got {shapes}")


@dataclass(frozen=True)
class EstimatorAgreement:
    """How far the trained layer is from an estimator (Akyürek et al. 2023, §4.1).

    Attributes:
        estimator: Its name.
        loss: Of the estimator itself, mean of ½ ‖f - y‖² over the tasks.
        squared_prediction_difference: SPD with the trained layer.
        implicit_weight_difference: ILWD with the trained layer.
    """

    estimator: str
    loss: float
    squared_prediction_difference: float
    implicit_weight_difference: float


def interpolation(
    trained: LinearSelfAttention, construction: LinearSelfAttention, tasks: RegressionTasks, points: int
) -> Sweep:
    """Follow the straight line between the rescaled products of two layers, see `interpolate_layers`.

    Args:
        trained: Where the line begins.
        construction: Where it ends.
        tasks: On which losses are taken.
        points: Ends included.
    """
    fractions = [point / (points - 1) for point in range(points)]
    return _sweep(
        "fraction of the way from the trained layer to the construction",
        fractions,
        lambda fraction: (
            tasks,
            {TRAINED: trained, INTERPOLATED: interpolate_layers(trained, construction, fraction)},
        ),
    )


def scaled_tasks(
    trained: LinearSelfAttention,
    construction: LinearSelfAttention,
    tasks: RegressionTasks,
    scales: Iterable[float],
    *,
    weights: bool,
) -> Sweep:
    """Compare layers on tasks whose inputs, or whose W, are larger or smaller than in training.

    Args:
        trained: The trained layer.
        construction: One step of gradient descent.
        tasks: As in training.
        scales: What x, or W, is multiplied by.
        weights: Whether W is, and not x.
    """
    learners = {
        TRAINED: trained,
        DESCENT: construction,
        INTERPOLATED: interpolate_layers(trained, construction, 0.5),
    }
    return _sweep(
        "factor on W" if weights else "factor on x",
        tuple(scales),
        lambda scale: (tasks.scaled(weights=scale) if weights else tasks.scaled(inputs=scale), learners),
    )


def other_demonstrations(
    config: ConstructionConfig,
    trained: LinearSelfAttention,
    construction: LinearSelfAttention,
    step_size: float,
) -> Sweep:
    """Compare layers on numbers of demonstrations unlike training's.

    A layer's weights are fixed, so the construction comes in two readings: with P as built for training's N, and
    built anew for each number, which is gradient descent on the mean loss with the same eta.

    Args:
        config: Which numbers, and how tasks are drawn.
        trained: The trained layer.
        construction: Built for training's N.
        step_size: eta.
    """

    def at(count: float) -> tuple[RegressionTasks, dict[str, LinearSelfAttention]]:
        rebuilt = von_oswald_construction(
            config.n_x, config.n_y, step_size=step_size, demonstrations=int(count)
        )
        return evaluation_tasks(config, "demonstrations", int(count)), {
            TRAINED: trained,
            DESCENT: rebuilt,
            f"P built for N = {config.demonstrations}": construction,
        }

    return _sweep("demonstrations", config.demonstration_counts, at)


def evaluation_tasks(
    config: ConstructionConfig, name: str, demonstrations: int | None = None
) -> RegressionTasks:
    """Draw tasks that are never trained on.

    Args:
        config: How tasks are drawn.
        name: What they are for; each use has its own.
        demonstrations: N, by default training's.
    """
    count = config.demonstrations if demonstrations is None else demonstrations
    seed = derive_seed("construction", config.seed, name, count)
    return draw_regression_tasks(
        config.evaluation_tasks,
        config.n_x,
        config.n_y,
        count,
        torch.Generator().manual_seed(seed),
        input_range=config.input_range,
        weight_scale=config.weight_scale,
    )


def compare_with_estimators(
    config: ConstructionConfig,
    trained: LinearSelfAttention,
    step_size: float,
    tasks: RegressionTasks,
) -> tuple[EstimatorAgreement, ...]:
    """Compare the trained layer with gradient descent, least squares and ridge by SPD and ILWD.

    Predictions are compared on fresh inputs, the same for every task. The trained layer's implicit weights are fitted
    to what it says to them; an estimator's are its own.

    Args:
        config: Ridge penalties, and how many fresh inputs.
        trained: The trained layer.
        step_size: eta of gradient descent.
        tasks: The demonstrations.
    """
    generator = torch.Generator().manual_seed(derive_seed("construction", config.seed, "probe queries"))
    queries = (torch.rand(config.probe_queries, config.n_x, generator=generator) - 0.5) * config.input_range
    with torch.no_grad():
        shared = queries.expand(len(tasks.x), -1, -1)
        predictions = trained.predict(tasks.x, tasks.y, shared)
        weights = implicit_weights(queries, predictions)
        estimates = {
            f"{DESCENT}, one step": gradient_descent(tasks.x, tasks.y, step_size),
            "least squares": least_squares(tasks.x, tasks.y),
            **{f"ridge, λ = {size:g}": ridge(tasks.x, tasks.y, size) for size in config.ridge_penalties},
        }
        return tuple(
            EstimatorAgreement(
                name,
                float(regression_loss((tasks.query[:, None] @ estimate.mT)[:, 0], tasks)),
                squared_prediction_difference(predictions, queries @ estimate.mT),
                implicit_weight_difference(weights, estimate),
            )
            for name, estimate in estimates.items()
        )


def _sweep(
    varied: str,
    values: Iterable[float],
    at: Callable[[float], tuple[RegressionTasks, Mapping[str, LinearSelfAttention]]],
) -> Sweep:
    """Evaluate the learners that `at` gives for each value, on the tasks it gives."""
    losses: dict[str, list[Tensor]] = {}
    differences: dict[str, list[Tensor]] = {}
    points = tuple(values)
    for value in points:
        tasks, learners = at(value)
        with torch.no_grad():
            predictions = {name: layer_predictions(layer, tasks) for name, layer in learners.items()}
        for name, predicted in predictions.items():
            losses.setdefault(name, []).append(regression_loss(predicted, tasks).double())
            if name != TRAINED:
                gap = torch.linalg.vector_norm(predicted - predictions[TRAINED], dim=-1)
                differences.setdefault(name, []).append(gap.mean().double())
    return Sweep(
        varied,
        points,
        {name: torch.stack(numbers) for name, numbers in losses.items()},
        {name: torch.stack(numbers) for name, numbers in differences.items()},
    )
