"""How alike the checkpoints of finetuning runs answer: GD beside GD (Shen et al. 2024, section 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ...errors import UserError, shown
from ...probes.distributions import TopTokens, overlap_cosine_similarity, token_overlap
from ...probes.options import OverlapNorm
from .outputs_measurement import OutputsRow

PairMeasure = Literal["token_overlap", "ocs"]


@dataclass(frozen=True, eq=False)
class CheckpointPairs:
    """Every two checkpoints of an arm compared.

    Attributes:
        arm: The arm.
        measure: ``token_overlap`` or ``ocs``.
        labels: What tells the M checkpoints apart: learning rate and epoch; draw and layer where there are
            several.
        values: Mean over queries, ``[M, M]``, symmetric with ones on the diagonal.
    """

    arm: str
    measure: PairMeasure
    labels: tuple[str, ...]
    values: Tensor

    def __post_init__(self) -> None:
        """Check that there is one label a row and column."""
        if self.values.shape != (len(self.labels), len(self.labels)):
            raise ValueError(f"{len(self.labels)} checkpoints have values {tuple(self.values.shape)}")

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "arm": self.arm,
            "measure": self.measure,
            "labels": list(self.labels),
            "values": self.values.tolist(),
        }


def compare_checkpoints(
    rows: Sequence[OutputsRow],
    arm: str,
    measure: PairMeasure,
    norm: OverlapNorm,
    *,
    model: str | None = None,
    shots: int | None = None,
    seeds: tuple[int, ...] | None = None,
    epochs: tuple[int, ...] | None = None,
) -> CheckpointPairs:
    """Compare every two checkpoints of an arm from the tokens that were kept of them.

    Args:
        rows: Rows of a study.
        arm: The arm.
        measure: ``token_overlap`` or ``ocs``.
        norm: Which reading of Eq. 6.
        model: The model; by default the first.
        shots: Demonstrations; by default the most there are.
        seeds: Draws; by default the first.
        epochs: Epochs; by default all.

    Raises:
        UserError: If nothing was kept of such checkpoints, or there is no such measure.
    """
    if measure not in ("token_overlap", "ocs"):
        raise UserError(f"checkpoints are not compared by {shown(measure)}: take token_overlap or ocs")
    of_arm = [row for row in rows if row.arm == arm and row.epoch is not None]
    if not of_arm:
        names = dict.fromkeys(row.arm for row in rows if row.epoch is not None)
        raise UserError(f"no arm is called {shown(arm)}: there are {', '.join(names)}")
    model = of_arm[0].model if model is None else model
    shots = max(row.shots for row in of_arm) if shots is None else shots
    seeds = (of_arm[0].seed,) if seeds is None else seeds
    kept = [
        row
        for row in of_arm
        if (row.model, row.shots) == (model, shots)
        and row.seed in seeds
        and (epochs is None or row.epoch in epochs)
        and row.top is not None
    ]
    if not kept:
        raise UserError(
            f"nothing was kept of arm {shown(arm)} of {shown(model)} with {shots} shots, seeds {seeds} and epochs "
            f"{epochs or 'of any number'}: choose what was run and did not diverge"
        )
    tops = [row.top for row in kept if row.top is not None]
    return CheckpointPairs(arm, measure, _labels(kept), _pairs(tops, measure, norm))


def _pairs(tops: Sequence[TopTokens], measure: PairMeasure, norm: OverlapNorm) -> Tensor:
    values = torch.ones(len(tops), len(tops), dtype=torch.float64)
    for row, first in enumerate(tops):
        for column, second in enumerate(tops[:row]):
            if measure == "token_overlap":
                alike = token_overlap(first, second)
            else:
                alike = overlap_cosine_similarity(first, second, norm)
            values[row, column] = values[column, row] = alike.mean()
    return values


def _labels(rows: Sequence[OutputsRow]) -> tuple[str, ...]:
    several_seeds = len({row.seed for row in rows}) > 1
    several_layers = len({row.layer for row in rows}) > 1
    labels = []
    for row in rows:
        parts = [f"seed {row.seed}"] if several_seeds else []
        parts += [f"layer {row.layer}"] if several_layers else []
        labels.append(", ".join([*parts, f"{row.learning_rate:g}", f"epoch {row.epoch}"]))
    return tuple(labels)
