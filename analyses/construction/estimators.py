"""How far the trained layer is from estimators: gradient descent, least squares, ridge."""

from __future__ import annotations

from typing import Any

import torch

from ...probes.function_agreement import (
    implicit_weight_difference,
    implicit_weights,
    squared_prediction_difference,
)
from ...probes.linear_attention import LinearSelfAttention
from ...probes.linear_estimators import gradient_descent, least_squares, ridge
from ...seeds import derive_seed
from .config import ConstructionConfig
from .regression_tasks import RegressionTasks
from .sweeps import DESCENT
from .training import regression_loss


def compare_with_estimators(
    config: ConstructionConfig,
    trained: LinearSelfAttention,
    step_size: float,
    tasks: RegressionTasks,
) -> list[dict[str, Any]]:
    """Compare the trained layer with gradient descent, least squares and ridge (Akyürek et al. 2023, §4.1).

    Predictions are compared on fresh inputs, the same for every task. The trained layer's implicit weights are fitted
    to what it says to them; an estimator's are its own.

    Args:
        config: Ridge penalties, and how many fresh inputs.
        trained: The trained layer.
        step_size: eta of gradient descent.
        tasks: The demonstrations.

    Returns:
        Rows of the table ``estimators``.
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
        return [
            {
                "estimator": name,
                "loss": float(regression_loss((tasks.query[:, None] @ estimate.mT)[:, 0], tasks)),
                "squared_prediction_difference": squared_prediction_difference(
                    predictions, queries @ estimate.mT
                ),
                "implicit_weight_difference": implicit_weight_difference(weights, estimate),
            }
            for name, estimate in estimates.items()
        ]
