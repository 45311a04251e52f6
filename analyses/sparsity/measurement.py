"""Measuring how sparse the attention weights of a checkpoint are, layer by layer and head by head."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from ...addresses import public
from ...models.matrices import Matrix
from ...models.weights import AttentionProjection, attention_projections
from ...probes import WeightStatistics, constructed_sparsity, weight_statistics
from ...progress import progressing
from ...study.finding import Finding
from ...study.names import MATRIX_NAMES
from ..context import Context, Measured
from ..weights.reading import require_defined
from ..worker_threads import work_through
from .config import SparsityConfig

MOMENTS = {
    "mean_absolute": "mean |w|",
    "standard_deviation": "standard deviation",
    "excess_kurtosis": "excess kurtosis",
    "stable_rank": "stable rank",
}
"""How the entries of a matrix are spread: columns of its table, and what they are called."""


@dataclass(frozen=True, eq=False)
class MeasuredMatrix:
    """One matrix of one layer.

    Attributes:
        layer: Counted from 0.
        matrix: Which of W_Q, W_K, W_V and W_O.
        tensor: The tensor it was read from.
        statistics: What it looks like.
        width: Model width d.
    """

    layer: int
    matrix: Matrix
    tensor: str
    statistics: WeightStatistics
    width: int


def measure_sparsity(config: SparsityConfig, context: Context) -> Measured:
    """Read the matrices of a checkpoint one after another and measure each (Shen et al. §3.2).

    Args:
        config: What is asked.
        context: The model, where one is in memory.

    Raises:
        UserError: If the checkpoint cannot be read as asked, or holds undefined entries.
    """
    model = context.given.get("model", config.model)
    context.note_weights(model)
    config = config.model_copy(update={"model": _name_of(model)})
    projections = attention_projections(model, revision=config.revision, **config.reading)
    measured = work_through(
        progressing(projections, "weights", "matrices"),
        lambda projection: _measure(config, projection),
        device=config.device,
    )
    width = max((row.width for row in measured), default=0)
    # The construction has inputs and targets, so that nothing narrower is one.
    every = constructed_sparsity(width) if width >= 2 else {}
    constructed = {matrix: below for matrix, below in every.items() if matrix in MATRIX_NAMES}
    averages = [average for matrix in config.matrices for average in _averages(matrix, measured)]
    place = public(config.model) + (f"@{config.revision}" if config.revision else "")
    layers = len({row.layer for row in measured})
    return Measured(
        config,
        {
            "fractions": [fraction for row in measured for fraction in _fractions(row)],
            "matrices": [_matrix(row) for row in measured],
            "heads": [fraction for row in measured for fraction in _heads(row)],
            "averages": averages,
            "construction": [{"matrix": matrix, "below": below} for matrix, below in constructed.items()],
            "facts": [
                {"name": "model", "text": place},
                {"name": "layers", "text": f"{layers}, width {width}"},
            ],
        },
        (*_results(averages, measured, constructed), *_warnings(measured)),
    )


def _measure(config: SparsityConfig, projection: AttentionProjection) -> MeasuredMatrix:
    weight = projection.weight.T if projection.matrix == "output" else projection.weight
    statistics = weight_statistics(
        weight, config.thresholds, heads=_head_count(projection), stable_rank=config.stable_rank
    )
    require_defined(
        statistics.undefined, weight.numel(), projection.name, config.model, config.allow_undefined
    )
    width = projection.width or weight.shape[1]
    return MeasuredMatrix(projection.layer, projection.matrix, projection.name, statistics, width)


def _head_count(projection: AttentionProjection) -> int | None:
    geometry = projection.geometry
    if geometry is None:
        return None
    return geometry.key_value_heads if projection.matrix in ("key", "value") else geometry.heads


def _fractions(row: MeasuredMatrix) -> Iterator[dict[str, Any]]:
    statistics = row.statistics
    for index, threshold in enumerate(statistics.thresholds):
        yield {
            "layer": row.layer,
            "matrix": row.matrix,
            "threshold": threshold,
            "below": float(statistics.below[index]),
            "below_relative": float(statistics.below_relative[index]),
        }


def _heads(row: MeasuredMatrix) -> Iterator[dict[str, Any]]:
    below, relative = row.statistics.head_below, row.statistics.head_below_relative
    if below is None or relative is None:
        return
    for head in range(len(below)):
        for index, threshold in enumerate(row.statistics.thresholds):
            yield {
                "layer": row.layer,
                "matrix": row.matrix,
                "head": head,
                "threshold": threshold,
                "below": float(below[head, index]),
                "below_relative": float(relative[head, index]),
            }


def _matrix(row: MeasuredMatrix) -> dict[str, Any]:
    return {
        "layer": row.layer,
        "matrix": row.matrix,
        "tensor": row.tensor,
        "width": row.width,
        **{name: getattr(row.statistics, name) for name in (*MOMENTS, "entries", "undefined")},
    }


def _averages(matrix: Matrix, measured: Sequence[MeasuredMatrix]) -> Iterator[dict[str, Any]]:
    """Return the fraction below each threshold, unweighted mean over layers (Shen et al. Fig. 2)."""
    found = [row.statistics for row in measured if row.matrix == matrix]
    below = torch.stack([statistics.below for statistics in found]).mean(dim=0)
    relative = torch.stack([statistics.below_relative for statistics in found]).mean(dim=0)
    for index, threshold in enumerate(found[0].thresholds):
        yield {
            "matrix": matrix,
            "threshold": threshold,
            "below": float(below[index]),
            "below_relative": float(relative[index]),
        }


def _results(
    averages: list[dict[str, Any]], measured: Sequence[MeasuredMatrix], constructed: dict[str, float]
) -> Iterator[Finding]:
    """Return every mean over layers: of fractions below thresholds, and of how entries are spread."""
    for relative, unit in ((False, ""), (True, " standard deviations")):
        for row in averages:
            value = 100 * row["below_relative" if relative else "below"]
            name, limit = MATRIX_NAMES[row["matrix"]], f"{row['threshold']:g}{unit}"
            beside = ""
            if not relative and row["matrix"] in constructed:
                beside = f" ({100 * constructed[row['matrix']]:.2f} % in von Oswald et al.'s construction)"
            yield Finding(
                f"entries with |w| < {limit}",
                f"{name}: {value:.2f} % of entries are below {limit}, mean over layers{beside}",
                value=value,
                unit="%",
                where={"matrix": name},
            )
    for matrix in dict.fromkeys(row.matrix for row in measured):
        for field, called in MOMENTS.items():
            value = fmean(getattr(row.statistics, field) for row in measured if row.matrix == matrix)
            if not math.isnan(value):
                name = MATRIX_NAMES[matrix]
                sentence = f"{name}: {called} {value:.3g}, mean over layers"
                yield Finding(called, sentence, value=value, where={"matrix": name})


def _warnings(measured: Sequence[MeasuredMatrix]) -> Iterator[Finding]:
    undefined = sum(row.statistics.undefined for row in measured)
    if undefined:
        where = ", ".join(row.tensor for row in measured if row.statistics.undefined)
        sentence = f"{undefined} NaN or infinite entries left out, in {where}"
        yield Finding("undefined entries", sentence, "warning", value=undefined)


def _name_of(model: Any) -> str:
    if isinstance(model, str | Path):
        return str(model)
    return str(getattr(model, "name", None) or type(model).__name__)
