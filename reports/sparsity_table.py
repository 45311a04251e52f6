"""The table of a sparsity measurement."""

from __future__ import annotations

import torch

from ..analyses.weights.sparsity import Sparsity
from ..probes import constructed_sparsity
from .plain_table import aligned, number
from .style import MATRIX_NAMES


def sparsity_text(study: Sparsity) -> str:
    """Return the table as plain text: fractions by threshold, mean over layers, and how entries are spread."""
    thresholds = study.config.thresholds
    model = study.config.model + (f"@{study.config.revision}" if study.config.revision else "")
    lines = [f"model    {model}", f"layers   {len(study.layers)}, width {study.width}", ""]
    if study.undefined:
        where = ", ".join(row.name for row in study.rows if row.statistics.undefined)
        lines[2:2] = [f"warning: {study.undefined} NaN or infinite entries left out, in {where}"]
    rows = [
        [MATRIX_NAMES[matrix], *(number(100 * float(value), ".2f") for value in study.averaged(matrix))]
        for matrix in study.config.matrices
    ]
    constructed = constructed_sparsity(study.width)
    rows += [
        [f"constructed {name}", *[number(100 * fraction, ".2f")] * len(thresholds)]
        for name, fraction in (("W_Q, W_K", constructed["query"]), ("W_V", constructed["value"]))
    ]
    header = ["entries with |w| < δ (%), mean over layers", *(f"{threshold:g}" for threshold in thresholds)]
    lines += [*aligned(header, rows), ""]
    relative = [
        [
            MATRIX_NAMES[matrix],
            *(number(100 * float(value), ".2f") for value in study.averaged(matrix, relative=True)),
        ]
        for matrix in study.config.matrices
    ]
    header = ["the same with δ in standard deviations", *(f"{threshold:g}" for threshold in thresholds)]
    lines += [*aligned(header, relative), ""]
    spread = []
    for matrix in study.config.matrices:
        cells = []
        for name in ("mean_absolute", "standard_deviation", "excess_kurtosis", "stable_rank"):
            values = torch.tensor([getattr(row, name) for row in study.of(matrix)], dtype=torch.float64)
            cells.append(number(float(values.mean())))
        spread.append([MATRIX_NAMES[matrix], *cells])
    lines += aligned(["mean over layers", "mean |w|", "std", "excess kurtosis", "stable rank"], spread)
    return "\n".join(lines)
