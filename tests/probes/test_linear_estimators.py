"""Estimators of a linear map, against autograd, normal equations and a grid."""

from __future__ import annotations

import pytest
import torch

from iclprobe.probes.linear_estimators import best_step_size, gradient_descent, least_squares, ridge


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, Y = drawn(5, 7, 3, seed=1), drawn(5, 7, 2, seed=2)


def loss(weights: torch.Tensor, task: int) -> torch.Tensor:
    return 0.5 * (X[task] @ weights.T - Y[task]).square().sum(1).mean()


def test_gradient_descent_takes_the_steps_that_autograd_takes():
    start = drawn(2, 3, seed=3)
    reached = gradient_descent(X, Y, 0.1, start=start, steps=3)
    for task in range(len(X)):
        weights = start
        for _ in range(3):
            moving = weights.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(moving, task), moving)
            weights = weights - 0.1 * gradient
        torch.testing.assert_close(reached[task], weights)


def test_the_best_step_size_is_where_a_fine_grid_has_its_minimum():
    queries, targets = drawn(5, 4, 3, seed=4), drawn(5, 4, 2, seed=5)
    targets = targets + queries @ least_squares(X, Y).mT
    for start in (None, drawn(2, 3, seed=6)):
        best = best_step_size(X, Y, queries, targets, start=start)
        grid = torch.arange(0.001, 25, 0.1, dtype=torch.float64)  # As von Oswald et al.'s `scan_lrs`.
        losses = torch.stack(
            [
                (queries @ gradient_descent(X, Y, float(eta), start=start).mT - targets).square().sum()
                for eta in grid
            ]
        )
        assert 0.1 < best < 24
        assert int(losses.argmin()) == int((grid - best).abs().argmin())
    with pytest.raises(ValueError, match="changes no prediction"):
        best_step_size(X, 0 * Y, queries, targets)


def test_least_squares_solves_the_normal_equations_and_is_shortest_when_there_are_many():
    weights = least_squares(X, Y)
    torch.testing.assert_close(weights @ X.mT @ X, Y.mT @ X)
    few = least_squares(X[:, :2], Y[:, :2])
    torch.testing.assert_close(X[:, :2] @ few.mT, Y[:, :2])
    inside = X[0, :2].T @ torch.linalg.solve(X[0, :2] @ X[0, :2].T, Y[0, :2])
    torch.testing.assert_close(few[0], inside.T)


def test_ridge_minimises_its_objective_and_tends_to_least_squares():
    weights = ridge(X, Y, 0.5).requires_grad_()
    objective = (X @ weights.mT - Y).square().sum() + 0.5 * weights.square().sum()
    (gradient,) = torch.autograd.grad(objective, weights)
    assert float(gradient.abs().max()) < 1e-10
    torch.testing.assert_close(ridge(X, Y, 1e-9), least_squares(X, Y), atol=1e-7, rtol=1e-7)


def test_one_task_may_come_without_a_batch_and_one_demonstration_is_enough():
    for estimate in (least_squares, lambda x, y: ridge(x, y, 0.1), lambda x, y: gradient_descent(x, y, 0.1)):
        torch.testing.assert_close(estimate(X[2], Y[2]), estimate(X, Y)[2])
        assert estimate(X[:, :1], Y[:, :1]).shape == (5, 2, 3)


def test_the_penalty_of_ridge_is_not_rounded():
    weights = ridge(X, Y, 0.1)
    gradient = weights @ (X.mT @ X + 0.1 * torch.eye(3, dtype=torch.float64)) - Y.mT @ X
    assert float(gradient.abs().max()) < 1e-12


def test_impossible_input_is_refused():
    with pytest.raises(ValueError, match=r"got \(3,\), \(2,\)"):
        least_squares(X[0, 0], Y[0, 0])
    with pytest.raises(ValueError, match=r"got \(7, 3\), \(7,\)"):
        least_squares(X[0], Y[0, :, 0])
    with pytest.raises(ValueError, match=r"got \(7,\), \(7, 2\)"):
        least_squares(X[0, :, 0], Y[0])
    for estimate in (least_squares, lambda x, y: ridge(x, y, 1.0), lambda x, y: gradient_descent(x, y, 1.0)):
        with pytest.raises(ValueError, match="at least one demonstration"):
            estimate(X[:, :0], Y[:, :0])
        with pytest.raises(ValueError, match=r"got \(5, 7, 3\), \(5, 6, 2\)"):
            estimate(X, Y[:, :6])
    with pytest.raises(ValueError, match="above 0, got 0"):
        ridge(X, Y, 0)
