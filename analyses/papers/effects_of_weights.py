"""The effects behind Shen et al.'s claims about weights: sparsity, and how they move."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...probes.constructions import constructed_sparsity
from .effects import Effect, fitted_change, over_units

Studies = Mapping[str, Any]


def _by_layer(study: Any, matrix: str) -> list[float]:
    largest = study.config.thresholds.index(max(study.config.thresholds))
    return [100 * float(row.below[largest]) for row in study.of(matrix)]


def sparsity_below_construction(studies: Studies, *matrices: str) -> Effect:
    """Constructed less measured sparsity at the largest threshold, in points, over matrices and layers."""
    values = [
        100 * constructed_sparsity(study.width)[matrix] - value
        for study in studies.values()
        for matrix in matrices
        for value in _by_layer(study, matrix)
    ]
    return over_units(values, "layers and matrices")


def sparsity_change_over_depth(studies: Studies, *matrices: str) -> Effect:
    """Relative change of sparsity at the largest threshold from the first to the last layer, by a fitted line.

    Of several matrices and models, the one with the largest change.
    """
    effects = [fitted_change(_by_layer(study, matrix)) for study in studies.values() for matrix in matrices]
    return max(effects, key=lambda effect: 0.0 if math.isnan(effect.value) else abs(effect.value))


def accuracy_last_less_first(studies: Studies) -> Effect:
    """ICL accuracy at the last checkpoint less at the first, over tasks and draws."""
    (study,) = studies.values()
    first, last = study.labels[0], study.labels[-1]
    at = {(entry.checkpoint, entry.task, entry.seed): entry.icl for entry in study.accuracies}
    values = [
        accuracy - at[first, task, seed] for (label, task, seed), accuracy in at.items() if label == last
    ]
    return over_units(values, "tasks and draws")


def weights_moved(studies: Studies) -> Effect:
    """‖ΔW‖ / ‖W‖ from the first to the last checkpoint, over layers and matrices."""
    (study,) = studies.values()
    final = len(study.labels) - 1
    values = [
        row.drift.relative_frobenius
        for row in study.rows
        if row.checkpoint == final and row.against == "first"
    ]
    return over_units(values, "layers and matrices")
