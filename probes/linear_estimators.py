"""Estimators of a linear map from demonstrations: gradient descent, least squares, ridge.

They work on batches of tasks: `[..., N, N_x]` inputs, `[..., N, N_y]` targets, `[..., N_y, N_x]` weights.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gradient_descent(
    x: Tensor, y: Tensor, step_size: float, *, start: Tensor | None = None, steps: int = 1
) -> Tensor:
    """Take steps of gradient descent on the mean over demonstrations of ½ ‖W x_j - y_j‖².

    One step is W_0 - (eta / N) Σ_j (W_0 x_j - y_j) x_jᵀ (von Oswald et al. 2023, §2).

    Args:
        x: `[..., N, N_x]`.
        y: `[..., N, N_y]`.
        step_size: eta.
        start: W_0, `[..., N_y, N_x]`; None is zero.
        steps: How many.

    Returns:
        `[..., N_y, N_x]`.

    Raises:
        ValueError: If there are no demonstrations.
    """
    _require_demonstrations(x, y)
    weights = x.new_zeros(y.shape[-1], x.shape[-1]) if start is None else start
    for _ in range(steps):
        errors = x @ weights.mT - y
        weights = weights - step_size / x.shape[-2] * (errors.mT @ x)
    return weights


def best_step_size(
    x: Tensor, y: Tensor, queries: Tensor, targets: Tensor, *, start: Tensor | None = None
) -> float:
    """Return the eta with which one step of gradient descent has the least loss on queries, over all tasks.

    Von Oswald et al. search a grid of eta on 10,000 tasks. One step predicts W_0 x + eta g with a g that does not
    depend on eta, so the loss is a parabola in eta: its minimum is known exactly, and the best point of any grid is
    the one nearest to it.

    Args:
        x: `[B, N, N_x]`.
        y: `[B, N, N_y]`.
        queries: `[B, T, N_x]`.
        targets: What is right for the queries, `[B, T, N_y]`.
        start: W_0, `[N_y, N_x]`; None is zero.

    Raises:
        ValueError: If there are no demonstrations, or a step changes no prediction.
    """
    begin = x.new_zeros(y.shape[-1], x.shape[-1]) if start is None else start
    unit_step = gradient_descent(x, y, 1.0, start=begin) - begin
    change = (queries @ unit_step.mT).double()
    missing = (targets - queries @ begin.mT).double()
    size = change.square().sum()
    if size == 0:
        raise ValueError("a step of gradient descent changes no prediction: there is no best step size")
    return float((missing * change).sum() / size)


def least_squares(x: Tensor, y: Tensor) -> Tensor:
    """Return the weights of least squares, of those the shortest (Akyürek et al. 2023, Eq. 10 with λ = 0).

    Args:
        x: `[..., N, N_x]`.
        y: `[..., N, N_y]`.

    Returns:
        `[..., N_y, N_x]` in the dtype of `x`; computed in float64, as N = N_x demonstrations may be nearly
        dependent.

    Raises:
        ValueError: If there are no demonstrations.
    """
    _require_demonstrations(x, y)
    return (torch.linalg.pinv(x.double()) @ y.double()).mT.to(x.dtype)


def ridge(x: Tensor, y: Tensor, penalty: float) -> Tensor:
    """Return argmin_W Σ_j ‖W x_j - y_j‖² + λ ‖W‖² (Akyürek et al. 2023, Eqs. 9 and 10).

    Args:
        x: `[..., N, N_x]`.
        y: `[..., N, N_y]`.
        penalty: λ, above 0.

    Returns:
        `[..., N_y, N_x]` in the dtype of `x`; computed in float64.

    Raises:
        ValueError: If there are no demonstrations, or λ is not above 0.
    """
    _require_demonstrations(x, y)
    if not penalty > 0:
        raise ValueError(f"the penalty of ridge must be above 0, got {penalty}; least_squares has none")
    inputs = x.double()
    gram = inputs.mT @ inputs + penalty * torch.eye(x.shape[-1], dtype=torch.float64, device=x.device)
    return torch.linalg.solve(gram, inputs.mT @ y.double()).mT.to(x.dtype)


def _require_demonstrations(x: Tensor, y: Tensor) -> None:
    if x.ndim < 2 or x.shape[:-1] != y.shape[:-1]:
        raise ValueError(
            f"expected x [..., N, N_x] and y [..., N, N_y], got {tuple(x.shape)}, {tuple(y.shape)}"
        )
    if x.shape[-2] < 1:
        raise ValueError("an estimate needs at least one demonstration")
