"""The effects behind Shen et al.'s claims about weights: sparsity, and how they move."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .effects import Effect, fitted_change, over_units
from .study_rows import constructed_fractions

Studies = Mapping[str, Any]


def _by_layer(study: Any, matrix: str) -> list[float]:
    fractions = study.tables["fractions"]
    of_matrix = fractions[fractions["matrix"] == matrix]
    largest = of_matrix[of_matrix["threshold"] == of_matrix["threshold"].max()]
    return [100 * below for below in largest["below"]]


def sparsity_below_construction(studies: Studies, *matrices: str) -> Effect:
    """Constructed less measured sparsity at the largest threshold, in points, over matrices and layers."""
    values = [
        100 * constructed_fractions(study)[matrix] - value
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
    accuracy = study.tables["accuracy"].set_index(["task", "seed"])
    first, last = (accuracy[accuracy["place"] == place]["icl"] for place in (0, _final_place(study)))
    return over_units([value - first[key] for key, value in last.items()], "tasks and draws")


def weights_moved(studies: Studies) -> Effect:
    """‖ΔW‖ / ‖W‖ from the first to the last checkpoint, over layers and matrices."""
    (study,) = studies.values()
    drift = study.tables["drift"]
    found = drift[(drift["place"] == _final_place(study)) & (drift["against"] == "first")]
    return over_units(found["relative_frobenius"].tolist(), "layers and matrices")


def _final_place(study: Any) -> int:
    return len(study.tables["checkpoints"]) - 1
