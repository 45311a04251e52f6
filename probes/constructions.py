"""Von Oswald et al.'s hand-made weights, with which a linear self-attention layer is one step of gradient descent."""

from __future__ import annotations

from typing import Literal

import torch

from .arrays import ArrayLike, as_tensor
from .linear_attention import LinearSelfAttention

ProjectionReading = Literal["code", "paper"]
"""Where P has entries: ``code`` on y alone, ``paper`` (eta / N) I. W_V writes y alone, so both do the same."""


def von_oswald_construction(
    n_x: int,
    n_y: int,
    *,
    step_size: float,
    demonstrations: int,
    start: ArrayLike | None = None,
    projection: ProjectionReading = "code",
    dtype: torch.dtype = torch.float32,
) -> LinearSelfAttention:
    """Build W_K = W_Q = [[I, 0], [0, 0]], W_V = [[0, 0], [W_0, -I]] and P = (eta / N) I.

    On N demonstrations the layer predicts with W_0 - (eta / N) Σ_j (W_0 x_j - y_j) x_jᵀ, one step of gradient
    descent on the mean of ½ ‖W x_j - y_j‖² (von Oswald et al. 2023, Proposition 1; as shown by Shen et al. §3.2).

    Args:
        n_x: N_x, entries of x.
        n_y: N_y, entries of y.
        step_size: eta.
        demonstrations: N, which P divides by.
        start: W_0, `[N_y, N_x]`; None is zero, the case von Oswald et al. compare trained layers with.
        projection: ``code`` or ``paper``.
        dtype: Of the matrices, where `start` does not say.

    Raises:
        ValueError: If there are no demonstrations, or a size is impossible.
    """
    start = as_tensor(start)
    _require_sizes(n_x, n_y)
    if demonstrations < 1:
        raise ValueError(
            f"the construction divides by the number of demonstrations: it is not defined for {demonstrations}"
        )
    weights = torch.zeros(n_y, n_x, dtype=dtype) if start is None else start
    if tuple(weights.shape) != (n_y, n_x):
        raise ValueError(f"W_0 must be [N_y, N_x] = [{n_y}, {n_x}], got {tuple(weights.shape)}")
    width = n_x + n_y
    select_x = weights.new_zeros(width, width)
    select_x[:n_x, :n_x] = torch.eye(n_x)
    value = weights.new_zeros(width, width)
    value[n_x:, :n_x] = weights
    value[n_x:, n_x:] = -torch.eye(n_y)
    rate = weights.new_zeros(width, width)
    first = 0 if _reads_paper(projection) else n_x
    rate[first:, first:] = torch.eye(width - first) * (step_size / demonstrations)
    return LinearSelfAttention(select_x, select_x.clone(), value, rate, n_x)


def constructed_sparsity(
    width: int,
    n_y: int | None = None,
    *,
    dense_start: bool = True,
    projection: ProjectionReading = "code",
) -> dict[str, float]:
    """Return the fraction of zero entries of the construction's matrices, in closed form, at a width d = N_x + N_y.

    Without `n_y`, N_x = N_y = d / 2, for which Shen et al. §3.2 give 99.99% (W_K, W_Q) and 75% (W_V) at d = 4096.

    Args:
        width: d, such as a model's.
        n_y: N_y; None is half of the width.
        dense_start: Whether no entry of W_0 is zero, as Shen et al. assume; else all of them are.
        projection: ``code`` or ``paper``.

    Returns:
        One fraction for each of ``query``, ``key``, ``value`` and ``projection`` (P).

    Raises:
        ValueError: If the sizes are impossible.
    """
    y = width // 2 if n_y is None else n_y
    x = width - y
    _require_sizes(x, y)
    nonzero = {
        "query": x,
        "key": x,
        "value": (x * y if dense_start else 0) + y,
        "projection": width if _reads_paper(projection) else y,
    }
    return {name: 1 - count / width**2 for name, count in nonzero.items()}


def _require_sizes(n_x: int, n_y: int) -> None:
    if n_x < 1 or n_y < 1:
        raise ValueError(f"N_x and N_y must be at least 1, got {n_x} and {n_y}")


def _reads_paper(projection: str) -> bool:
    if projection not in ("code", "paper"):
        raise ValueError(f"unknown projection {projection!r}: it is 'code' or 'paper'")
    return projection == "paper"
