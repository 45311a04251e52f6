"""In-context linear regression: tasks drawn at random, a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class RegressionTasks:
    """B tasks y = W x, each with N demonstrations and one query.

    Attributes:
        x: Inputs of the demonstrations, `[B, N, N_x]`.
        y: Their targets, `[B, N, N_y]`.
        query: `[B, N_x]`.
        target: What is right for the query, `[B, N_y]`.
    """

    x: Tensor
    y: Tensor
    query: Tensor
    target: Tensor

    def __post_init__(self) -> None:
        """Check that all parts speak of the same tasks."""
        tasks, demonstrations, n_x = self.x.shape
        n_y = self.target.shape[-1]
        shapes = [tuple(part.shape) for part in (self.y, self.query, self.target)]
        if shapes != [(tasks, demonstrations, n_y), (tasks, n_x), (tasks, n_y)]:
            raise ValueError(f"tasks with x {tuple(self.x.shape)} cannot have y, query and target {shapes}")

    def scaled(self, *, inputs: float = 1.0, weights: float = 1.0) -> RegressionTasks:
        """Return the same tasks with all x multiplied, and with all W multiplied.

        Args:
            inputs: Multiplies x, and with it y.
            weights: Multiplies W, and so y alone.
        """
        outputs = inputs * weights
        return RegressionTasks(self.x * inputs, self.y * outputs, self.query * inputs, self.target * outputs)


def draw_regression_tasks(
    count: int,
    n_x: int,
    n_y: int,
    demonstrations: int,
    generator: torch.Generator,
    *,
    input_range: float = 1.0,
    weight_scale: float = 1.0,
) -> RegressionTasks:
    """Draw tasks with x ~ U(-½, ½) · range and the entries of W ~ N(0, scale²).

    As von Oswald et al.'s code does; their text says U(-1, 1), which is a range of 2.

    Args:
        count: B.
        n_x: N_x.
        n_y: N_y.
        demonstrations: N.
        generator: Where the numbers come from.
        input_range: Width of the distribution of x.
        weight_scale: Standard deviation of the entries of W.
    """
    x = (torch.rand(count, demonstrations + 1, n_x, generator=generator) - 0.5) * input_range
    weights = torch.randn(count, n_y, n_x, generator=generator) * weight_scale
    y = x @ weights.mT
    return RegressionTasks(x[:, :-1], y[:, :-1], x[:, -1], y[:, -1])
