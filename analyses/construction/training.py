"""Training a linear self-attention layer for in-context regression, and watching it approach gradient descent."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from ...probes.function_agreement import FunctionAgreement, function_agreement, query_sensitivities
from ...probes.linear_attention import LinearSelfAttention
from ...seeds import derive_seed
from .config import ConstructionConfig
from .regression_tasks import RegressionTasks, draw_regression_tasks

_REPORTS = 10


def layer_predictions(layer: LinearSelfAttention, tasks: RegressionTasks) -> Tensor:
    """Return what a layer predicts for the query of each task, `[B, N_y]`; W_0 is zero."""
    return layer.predict(tasks.x, tasks.y, tasks.query[:, None])[:, 0]


def regression_loss(predictions: Tensor, tasks: RegressionTasks) -> Tensor:
    """Return the mean over tasks of ½ ‖f - y‖², the ICL objective."""
    return 0.5 * (predictions - tasks.target).square().sum(-1).mean()


def compare_layers(
    layer: LinearSelfAttention, other: LinearSelfAttention, tasks: RegressionTasks
) -> FunctionAgreement:
    """Compare two layers' predictions and sensitivities on the same tasks.

    Args:
        layer: A layer.
        other: Another one, such as the construction, which is gradient descent.
        tasks: On which.
    """

    def sensitivities(of: LinearSelfAttention) -> Tensor:
        return query_sensitivities(
            lambda queries: of.predict(tasks.x, tasks.y, queries[:, None])[:, 0], tasks.query
        )

    with torch.no_grad():
        predictions = (layer_predictions(layer, tasks), layer_predictions(other, tasks))
    return function_agreement(predictions, (sensitivities(layer), sensitivities(other)))


def train_layer(
    config: ConstructionConfig,
    construction: LinearSelfAttention,
    evaluation: RegressionTasks,
    say: Callable[[str], None],
) -> tuple[LinearSelfAttention, list[dict[str, Any]]]:
    """Train a layer on the ICL objective with Adam, on new tasks at every step.

    Args:
        config: Sizes, optimiser and seed.
        construction: One step of gradient descent, to compare with.
        evaluation: Tasks of the comparisons.
        say: Told now and then how far training is.

    Returns:
        The trained layer, which requires no gradient, and rows of the table ``training``: the first is step 0, the
        last the trained layer.

    Raises:
        UserError: If training diverges.
    """
    layer = _first_layer(config)
    parameters = list(layer.matrices.values())
    optimiser = torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.9, 0.98))
    factor = _schedule(config)
    generator = torch.Generator().manual_seed(derive_seed("construction", config.seed, "training tasks"))
    rows: list[dict[str, Any]] = []
    report_every = max(1, config.steps // config.evaluate_every // _REPORTS)

    def evaluate(step: int) -> None:
        with torch.no_grad():
            loss = float(regression_loss(layer_predictions(layer, evaluation), evaluation))
        if not math.isfinite(loss):
            raise UserError(
                f"training diverged by step {step}: lower learning_rate ({config.learning_rate:g})"
            )
        agreement = compare_layers(layer, construction, evaluation)
        rows.append({"step": step, "loss": loss, **asdict(agreement)})
        if step and (len(rows) - 1) % report_every == 0:
            say(f"step {step} of {config.steps}: loss {loss:.4f}")

    evaluate(0)
    for step in range(1, config.steps + 1):
        tasks = draw_regression_tasks(
            config.batch_size,
            config.n_x,
            config.n_y,
            config.demonstrations,
            generator,
            input_range=config.input_range,
            weight_scale=config.weight_scale,
        )
        optimiser.zero_grad()
        regression_loss(layer_predictions(layer, tasks), tasks).backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.clip)
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * factor(step)
        optimiser.step()
        if step % config.evaluate_every == 0 or step == config.steps:
            evaluate(step)
    return LinearSelfAttention(*(matrix.detach() for matrix in parameters), n_x=config.n_x), rows


def _first_layer(config: ConstructionConfig) -> LinearSelfAttention:
    generator = torch.Generator().manual_seed(derive_seed("construction", config.seed, "first weights"))
    width = config.n_x + config.n_y
    drawn = torch.randn(4, width, width, generator=generator) * (config.init_scale / width) ** 0.5
    return LinearSelfAttention(*(matrix.clone().requires_grad_() for matrix in drawn), n_x=config.n_x)


def _schedule(config: ConstructionConfig) -> Callable[[int], float]:
    """Return the factor on the learning rate at each step, counted from 1."""
    if config.schedule == "constant":
        return lambda step: 1.0
    return lambda step: 0.5 * (1 + math.cos(math.pi * (step - 1) / config.steps))
