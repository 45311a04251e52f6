"""Where a trained layer and gradient descent part: between their weights, out of distribution, at other lengths."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from ...probes.constructions import von_oswald_construction
from ...probes.linear_attention import LinearSelfAttention, interpolate_layers
from ...seeds import derive_seed
from .config import ConstructionConfig
from .regression_tasks import RegressionTasks, draw_regression_tasks
from .training import layer_predictions, regression_loss

TRAINED = "trained layer"
DESCENT = "gradient descent"
INTERPOLATED = "interpolated"
# What is varied, as the table names it.
LINE = "fraction of the way from the trained layer to the construction"
INPUTS, WEIGHTS, COUNTS = "factor on x", "factor on W", "demonstrations"


def interpolation(
    trained: LinearSelfAttention, construction: LinearSelfAttention, tasks: RegressionTasks, points: int
) -> list[dict[str, Any]]:
    """Follow the straight line between the rescaled products of two layers, see `interpolate_layers`.

    Args:
        trained: Where the line begins.
        construction: Where it ends.
        tasks: On which losses are taken.
        points: Ends included.
    """
    fractions = [point / (points - 1) for point in range(points)]
    return _sweep(
        LINE,
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
) -> list[dict[str, Any]]:
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
        WEIGHTS if weights else INPUTS,
        scales,
        lambda scale: (tasks.scaled(weights=scale) if weights else tasks.scaled(inputs=scale), learners),
    )


def other_demonstrations(
    config: ConstructionConfig,
    trained: LinearSelfAttention,
    construction: LinearSelfAttention,
    step_size: float,
) -> list[dict[str, Any]]:
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

    return _sweep(COUNTS, config.demonstration_counts, at)


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


def _sweep(
    varied: str,
    values: Iterable[float],
    at: Callable[[float], tuple[RegressionTasks, Mapping[str, LinearSelfAttention]]],
) -> list[dict[str, Any]]:
    """Evaluate the learners that `at` gives for each value, on the tasks it gives; rows of the table ``sweeps``."""
    rows = []
    for value in values:
        tasks, learners = at(value)
        with torch.no_grad():
            predictions = {name: layer_predictions(layer, tasks) for name, layer in learners.items()}
        for name, predicted in predictions.items():
            gap = torch.linalg.vector_norm(predicted - predictions[TRAINED], dim=-1)
            rows.append(
                {
                    "varied": varied,
                    "value": value,
                    "learner": name,
                    "loss": float(regression_loss(predicted, tasks)),
                    "difference": math.nan if name == TRAINED else float(gap.mean()),
                }
            )
    return rows
