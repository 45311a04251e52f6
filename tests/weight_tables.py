"""Numbers of sparsity and drift studies as tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from iclprobe.reports.drift import gaps_by_checkpoint
from iclprobe.study.study import Study


def averaged(study: Study, matrix: str, column: str = "below") -> Tensor:
    """Return the fraction below each threshold, mean over layers, ``[T]``."""
    averages = study.tables["averages"]
    return torch.tensor(averages.loc[averages["matrix"] == matrix, column].tolist(), dtype=torch.float64)


def parameter_gap(study: Study, against: str) -> Tensor:
    """Return the parameter gap at each checkpoint; NaN where there is none to compare with, ``[C]``."""
    return torch.from_numpy(gaps_by_checkpoint(study.tables["gaps"], against))


def between(study: Study) -> Tensor:
    """Return mean |ΔW| between every two checkpoints, ``[C, C]``."""
    table = study.tables["between"]
    return torch.tensor(table.pivot(index="place", columns="other_place", values="mean_absolute").to_numpy())
