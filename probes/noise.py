"""Which updates are larger than what the same run, repeated, differs from itself."""

from __future__ import annotations

import torch
from torch import Tensor

from .arrays import ArrayLike, as_tensor, as_tensors
from .attention_outputs import attention_output_update
from .attention_scores import ComparedColumns, masked_scores
from .vectors import example_slices, require_shape


def noise_floor(
    first: ArrayLike, second: ArrayLike, *, quantile: float = 1.0, normalize: bool = True
) -> Tensor:
    """Return how far two runs of the same setting lie apart, per layer.

    In half precision a forward with other batches gives other roundings. An update no longer than this says
    nothing about demonstrations or finetuning.

    Args:
        first: `[n, L, d]` attention output of one run, `n >= 1`.
        second: `[n, L, d]` attention output of the same queries in another run.
        quantile: Which quantile over the examples; 1.0 is the largest difference.
        normalize: As in `sim_aou`, so that the floor compares with its update norms.

    Returns:
        `[L]` float64, norm of the difference of the (normalised) outputs at that quantile.

    Raises:
        ValueError: The shapes differ, there is no example, or `quantile` lies outside 0..1.
    """
    first, second = as_tensors(first, second)
    require_shape("n L d", first=first, second=second)
    examples, layers, width = first.shape
    if examples == 0:
        raise ValueError(f"a noise floor needs at least one example, got shape {tuple(first.shape)}")
    if not 0.0 <= quantile <= 1.0:
        raise ValueError(f"quantile must lie in 0..1, got {quantile}")
    norms = [
        torch.linalg.vector_norm(
            attention_output_update(first[rows], second[rows], normalize=normalize), dim=-1
        )
        for rows in example_slices(examples, layers * width)
    ]
    return torch.quantile(torch.cat(norms), quantile, dim=0)


def score_noise_floor(
    first: ArrayLike, second: ArrayLike, columns: ArrayLike, visible: ArrayLike | None = None
) -> Tensor:
    """Return how far the scores of two runs of the same setting lie apart, per layer and head.

    Args:
        first: `[n, L, H, Q]` scores of one run, `n >= 1`.
        second: `[n, L, H, Q]` scores of the same queries in another run.
        columns: `[n, Q]` bool, which columns hold a token of the query.
        visible: As in `sim_am`.

    Returns:
        `[L, H]` float64, the largest root mean square over the compared columns of the difference.

    Raises:
        ValueError: The shapes do not fit, there is no example, or a compared score is not finite.
    """
    first, second, columns = as_tensors(first, second, columns)
    visible = as_tensor(visible)
    require_shape("n L H Q", first=first, second=second)
    examples, layers, heads, width = first.shape
    if examples == 0:
        raise ValueError(f"a noise floor needs at least one example, got shape {tuple(first.shape)}")
    compared = ComparedColumns(columns, visible, (examples, layers, width))
    largest = torch.zeros(layers, heads, dtype=torch.float64)
    for rows in example_slices(examples, layers * heads * width):
        mask = compared.of(rows)
        one, other = (masked_scores("repeated", scores[rows], mask) for scores in (first, second))
        squares = (one - other).square().sum(-1) / mask.sum(-1).clamp(min=1)
        largest = torch.maximum(largest, squares.sqrt().amax(0))
    return largest


def below_noise(update_norms: ArrayLike, floor: ArrayLike) -> Tensor:
    """Flag the updates that are no longer than the noise floor of their layer.

    Args:
        update_norms: `[N, L]`, such as `SimAOU.update_norms_ft`.
        floor: `[L]`, see `noise_floor`.

    Returns:
        `[N, L]` bool. An update of exactly zero is always flagged.

    Raises:
        ValueError: The shapes do not fit.
    """
    update_norms, floor = as_tensors(update_norms, floor)
    if update_norms.ndim != 2 or floor.shape != update_norms.shape[1:]:
        raise ValueError(
            "expected update_norms [N, L] and floor [L], "
            f"got {tuple(update_norms.shape)} and {tuple(floor.shape)}"
        )
    return update_norms <= floor
