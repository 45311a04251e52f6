"""Constructed, trained for ICL, pretrained on text: how many entries of the same matrices are near zero.

Shen et al. §3.2, Figs. 2 and 10.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError, shown
from ...probes.linear_attention import LinearSelfAttention
from ...probes.weights import weight_statistics

THRESHOLDS = tuple(10 ** (exponent / 4) for exponent in range(-24, 5))
"""δ from 1e-6 to 10, four a decade."""
CONSTRUCTED, TRAINED_FOR_ICL, PRETRAINED = "constructed", "trained for ICL", "pretrained on text"


def layer_sparsity(layer: LinearSelfAttention, weights: str) -> list[dict[str, Any]]:
    """Measure the sparsity of a layer: rows of the table ``sparsity``.

    Its matrices are ``query``, ``key`` and ``value``, and rescaled ``key_query`` (W_Kᵀ W_Q) and ``projected_value``
    (P W_V), which are all that its function depends on.

    Args:
        layer: The layer.
        weights: What kind of weights it has.
    """
    key_query, projected_value = layer.rescaled_products()
    matrices = {
        "query": layer.w_q,
        "key": layer.w_k,
        "value": layer.w_v,
        "key_query": key_query,
        "projected_value": projected_value,
    }
    rows = []
    for name, matrix in matrices.items():
        statistics = weight_statistics(matrix, THRESHOLDS, stable_rank=False)
        rows += _rows(weights, len(layer.w_k), name, statistics.below, statistics.below_relative)
    return rows


def pretrained_sparsity(weights: Iterable[tuple[str, Tensor]], model: str) -> list[dict[str, Any]]:
    """Measure the sparsity of a model's attention weights, one after another: rows of the table ``sparsity``.

    Args:
        weights: Names (``query``, ``key``, ``value``) and weights `[out, d]`, of all layers.
        model: The model's name.

    Returns:
        Of each matrix the mean over layers.

    Raises:
        UserError: If there are no weights, or entries are NaN or infinite.
    """
    by_matrix: dict[str, list[tuple[Tensor, Tensor]]] = {}
    width = 0
    for name, weight in weights:
        statistics = weight_statistics(weight, THRESHOLDS, stable_rank=False)
        if statistics.undefined:
            raise UserError(
                f"{statistics.undefined} entries of a {name} matrix of {shown(model)} are NaN or infinite: "
                "the checkpoint is broken; give another model"
            )
        by_matrix.setdefault(name, []).append((statistics.below, statistics.below_relative))
        width = weight.shape[1]
    if not by_matrix:
        raise UserError(f"{shown(model)} gave no attention weights: give another model")
    rows = []
    for name, layers in by_matrix.items():
        below, relative = (torch.stack(curves).mean(0) for curves in zip(*layers, strict=True))
        rows += _rows(PRETRAINED, width, name, below, relative)
    return rows


def _rows(weights: str, width: int, matrix: str, below: Tensor, relative: Tensor) -> list[dict[str, Any]]:
    key = {"weights": weights, "width": width, "matrix": matrix}
    return [
        {**key, "threshold": threshold, "below": absolute, "below_relative": in_deviations}
        for threshold, absolute, in_deviations in zip(
            THRESHOLDS, below.tolist(), relative.tolist(), strict=True
        )
    ]
