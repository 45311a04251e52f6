"""What each variant's measures are, and what they lack to those with gold labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...study.names import DELTA, PARTIAL
from ..comparison.measures import Intervals
from ..comparison.query_values import ACCURACIES, interval_of, over_layers_and_draws, query_values
from ..comparison.rows import Rows

MEASURES = (*ACCURACIES, "SimAOU", PARTIAL, "SimAM before finetuning", "SimAM after finetuning", DELTA)
"""What is read of every variant."""


def effect_rows(tables: Rows, intervals: Intervals) -> list[dict[str, Any]]:
    """Return one row for each variant and measure, over all draws, with its difference from gold labels.

    Intervals resample queries, with all layers and draws of a query together; those of a difference take the same
    queries under both variants.

    Args:
        tables: The tables of the comparisons, with a column ``variant``.
        intervals: How intervals are made.
    """
    variants = list(dict.fromkeys(tables["over_draws"]["variant"]))
    rows: list[dict[str, Any]] = []
    for measure in MEASURES:
        gold = query_values(tables, {"variant": "gold"}, measure)
        for variant in variants:
            own = query_values(tables, {"variant": variant}, measure)
            change = interval_of(torch.stack([own, gold], dim=1), measure, intervals, _difference)
            rows.append(
                {
                    "variant": variant,
                    "measure": measure,
                    "unit": "%" if measure in ACCURACIES else "cosine",
                    **interval_of(own, measure, intervals),
                    **{
                        f"change{'' if end == 'value' else f'_{end}'}": value for end, value in change.items()
                    },
                    "queries": int((~own.isnan()).flatten(1).any(1).sum()),
                    "draws": own.shape[1],
                }
            )
    return rows


def _difference(means: Tensor) -> Tensor:
    own, gold = over_layers_and_draws(means).unbind(1)
    return own - gold
