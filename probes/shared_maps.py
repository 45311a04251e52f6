"""One linear map that all queries share in place of an update of each: fitted on some, judged on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensors
from .vectors import as_float64

PENALTIES: tuple[float, ...] = tuple(10.0**power for power in range(-6, 4))
"""Those that are tried, relative to the mean squared length of the inputs."""


@dataclass(frozen=True, eq=False)
class SharedUpdate:
    """What maps that are fitted on the other half of the queries say of each query (float64, CPU).

    Attributes:
        predicted: By a ridge regression on the input, ``[N, m]``.
        mean: By the mean over the other half, ``[N, m]``.
        permuted: By a ridge regression whose targets belong to other queries of that half, ``[N, m]``.
        penalties: Which penalty each half's regression took, by half.
    """

    predicted: Tensor
    mean: Tensor
    permuted: Tensor
    penalties: tuple[float, float]


def shared_update(
    inputs: ArrayLike,
    targets: ArrayLike,
    half: ArrayLike,
    *,
    seed: int,
    penalties: Sequence[float] = PENALTIES,
) -> SharedUpdate:
    """Fit one map ΔW with ΔW a ≈ target on each half of the queries, and apply it to the other half.

    min Σ‖ΔW a − t‖² + λ‖ΔW‖², without a constant; λ is the one that predicts best from one half of the fitted
    queries to their other half.

    Args:
        inputs: a, ``[N, d]``.
        targets: t, ``[N, m]``.
        half: Which half each query belongs to, 0 or 1, ``[N]``.
        seed: Of the inner halves and of the permutation.
        penalties: Those that are tried, relative to the mean squared length of the inputs.

    Raises:
        ValueError: The shapes do not fit, or a half has fewer than two queries.
    """
    inputs, targets, half = as_tensors(inputs, targets, half)
    inputs, targets = as_float64(inputs), as_float64(targets)
    if not len(inputs) == len(targets) == len(half) or inputs.ndim != 2 or targets.ndim != 2:
        raise ValueError(
            f"expected inputs [N, d], targets [N, m] and half [N], got {tuple(inputs.shape)}, "
            f"{tuple(targets.shape)} and {tuple(half.shape)}"
        )
    predicted, mean, permuted = (torch.zeros_like(targets) for _ in range(3))
    chosen = [0.0, 0.0]
    for held_out in (0, 1):
        asked, fitted = half == held_out, half != held_out
        count = int(fitted.sum())
        if count < 2:
            raise ValueError(f"a half of the queries has {count} of them, and a fit needs at least two")
        order = torch.from_numpy(np.random.default_rng([seed, held_out]).permutation(count))
        own, wanted = inputs[fitted][order], targets[fitted][order]
        chosen[held_out] = _best_penalty(own, wanted, penalties)
        predicted[asked] = _ridge(own, wanted, inputs[asked], chosen[held_out])
        mean[asked] = wanted.mean(0)
        # The order is random already, so that the next one's target is another query's at random.
        others = wanted.roll(1, dims=0)
        permuted[asked] = _ridge(own, others, inputs[asked], _best_penalty(own, others, penalties))
    return SharedUpdate(predicted, mean, permuted, (chosen[0], chosen[1]))


def _best_penalty(inputs: Tensor, targets: Tensor, penalties: Sequence[float]) -> float:
    middle = (len(inputs) + 1) // 2
    sides = (slice(None, middle), slice(middle, None))

    def error(penalty: float) -> float:
        return sum(
            float((_ridge(inputs[one], targets[one], inputs[other], penalty) - targets[other]).square().sum())
            for one, other in (sides, sides[::-1])
        )

    return min(penalties, key=error)


def _ridge(inputs: Tensor, targets: Tensor, asked: Tensor, penalty: float) -> Tensor:
    """Return what the ridge regression of targets on inputs says of other inputs, by way of the Gram matrix."""
    gram = inputs @ inputs.T
    scale = gram.diagonal().mean()
    ridge = gram + penalty * scale * torch.eye(len(gram), dtype=gram.dtype)
    return asked @ inputs.T @ torch.linalg.solve(ridge, targets)
