"""Constructed, trained for ICL, pretrained on text: how many entries of the same matrices are near zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import UserError, shown
from ...probes.constructions import constructed_sparsity
from ...probes.linear_attention import LinearSelfAttention
from ...probes.weights import weight_statistics

THRESHOLDS = tuple(10 ** (exponent / 4) for exponent in range(-24, 5))
"""δ from 1e-6 to 10, four a decade."""


@dataclass(frozen=True, eq=False)
class SparsityCurve:
    """Fraction of a matrix's entries with |w| < δ, for every δ of `THRESHOLDS`.

    Attributes:
        absolute: δ as it is, `[T]` float64.
        relative: δ in standard deviations of the matrix, `[T]` float64.
    """

    absolute: Tensor
    relative: Tensor

    def __post_init__(self) -> None:
        """Check that there is one fraction a threshold."""
        if {tuple(part.shape) for part in (self.absolute, self.relative)} != {(len(THRESHOLDS),)}:
            raise ValueError(f"a curve holds {len(THRESHOLDS)} fractions, got {tuple(self.absolute.shape)}")


@dataclass(frozen=True, eq=False)
class PretrainedCurves:
    """The curves of a model that was pretrained on text.

    Attributes:
        model: Its name.
        width: Its width d.
        curves: For each of ``query``, ``key`` and ``value`` the mean over layers.
    """

    model: str
    width: int
    curves: Mapping[str, SparsityCurve]

    @property
    def constructed_zeros(self) -> Mapping[str, float]:
        """Fraction of zeros of the construction at the model's width, with N_x = N_y = d / 2, by matrix."""
        return constructed_sparsity(self.width)


@dataclass(frozen=True, eq=False)
class SparsityCurves:
    """The curves of all three kinds of weights.

    Attributes:
        width: Width d of the constructed and of the trained layer.
        constructed: By matrix: ``query``, ``key`` and ``value``, and rescaled ``key_query`` (W_Kᵀ W_Q) and
            ``projected_value`` (P W_V), which are all that a layer's function depends on.
        trained: The same of the layer trained for ICL.
        pretrained: Those of a model, if there is one.
    """

    width: int
    constructed: Mapping[str, SparsityCurve]
    trained: Mapping[str, SparsityCurve]
    pretrained: PretrainedCurves | None

    @property
    def kinds(self) -> dict[str, Mapping[str, SparsityCurve]]:
        """The curves by the kind of weights."""
        kinds = {"constructed": self.constructed, "trained for ICL": self.trained}
        return kinds if self.pretrained is None else kinds | {"pretrained on text": self.pretrained.curves}


def sparsity_curves(
    construction: LinearSelfAttention,
    trained: LinearSelfAttention,
    pretrained: PretrainedCurves | None = None,
) -> SparsityCurves:
    """Measure the sparsity of two layers, to stand beside a model's (Shen et al. §3.2, Figs. 2 and 10).

    Args:
        construction: Von Oswald et al.'s layer.
        trained: The layer trained for ICL.
        pretrained: A model's curves.
    """
    width = len(construction.w_k)
    return SparsityCurves(width, _layer_curves(construction), _layer_curves(trained), pretrained)


def pretrained_curves(weights: Iterable[tuple[str, Tensor]], model: str) -> PretrainedCurves:
    """Measure the sparsity of a model's attention weights, one after another.

    Args:
        weights: Names (``query``, ``key``, ``value``) and weights `[out, d]`, of all layers.
        model: The model's name.

    Raises:
        UserError: If there are no weights, or entries are NaN or infinite.
    """
    by_matrix: dict[str, list[SparsityCurve]] = {}
    width = 0
    for name, weight in weights:
        statistics = weight_statistics(weight, THRESHOLDS, stable_rank=False)
        if statistics.undefined:
            raise UserError(
                f"{statistics.undefined} entries of a {name} matrix of {shown(model)} are NaN or infinite: "
                "the checkpoint is broken; give another model"
            )
        by_matrix.setdefault(name, []).append(SparsityCurve(statistics.below, statistics.below_relative))
        width = weight.shape[1]
    if not by_matrix:
        raise UserError(f"{shown(model)} gave no attention weights: give another model")
    averaged = {
        name: SparsityCurve(
            torch.stack([curve.absolute for curve in layers]).mean(0),
            torch.stack([curve.relative for curve in layers]).mean(0),
        )
        for name, layers in by_matrix.items()
    }
    return PretrainedCurves(model, width, averaged)


def _layer_curves(layer: LinearSelfAttention) -> dict[str, SparsityCurve]:
    key_query, projected_value = layer.rescaled_products()
    matrices = {
        "query": layer.w_q,
        "key": layer.w_k,
        "value": layer.w_v,
        "key_query": key_query,
        "projected_value": projected_value,
    }
    measured = {
        name: weight_statistics(matrix, THRESHOLDS, stable_rank=False) for name, matrix in matrices.items()
    }
    return {
        name: SparsityCurve(statistics.below, statistics.below_relative)
        for name, statistics in measured.items()
    }
