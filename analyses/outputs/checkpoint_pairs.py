"""How alike the checkpoints of finetuning runs answer: GD beside GD (Shen et al. 2024, section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ...errors import UserError, shown
from ...probes.distributions import TopTokens, overlap_cosine_similarity, token_overlap
from ...probes.options import OverlapNorm
from ...study.columns import Frame
from .kept_tokens import kept_tokens

if TYPE_CHECKING:
    import numpy as np

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


def compare_checkpoints(
    rows: Frame,
    top: Mapping[str, np.ndarray],
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
        top: Its top tokens, see `kept_tokens`.
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
    finetuned = rows[rows["epoch"].notna()]
    of_arm = finetuned[finetuned["arm"] == arm]
    if of_arm.empty:
        raise UserError(f"no arm is called {shown(arm)}: there are {', '.join(finetuned['arm'].unique())}")
    model = of_arm["model"].iloc[0] if model is None else model
    shots = int(of_arm["shots"].max()) if shots is None else shots
    seeds = (int(of_arm["seed"].iloc[0]),) if seeds is None else seeds
    asked = (of_arm["model"] == model) & (of_arm["shots"] == shots) & of_arm["seed"].isin(seeds)
    if epochs is not None:
        asked &= of_arm["epoch"].isin(epochs)
    kept = of_arm[asked & of_arm["tokens"].notna()]
    if kept.empty:
        raise UserError(
            f"nothing was kept of arm {shown(arm)} of {shown(model)} with {shots} shots, seeds {seeds} and epochs "
            f"{epochs or 'of any number'}: choose what was run and did not diverge"
        )
    places = zip(kept["tokens"], kept["queries"], strict=True)
    tops = [kept_tokens(top, int(place), int(queries)) for place, queries in places]
    return CheckpointPairs(arm, measure, _labels(kept), _pairs(tops, measure, norm))


def arms_with_pairs(rows: Frame) -> tuple[str, ...]:
    """Return the arms of which `compare_checkpoints` finds something without further arguments.

    Args:
        rows: Rows of a study.
    """
    first = rows.iloc[0]
    kept = rows[rows["epoch"].notna() & rows["tokens"].notna()]
    found = (
        (kept["model"] == first["model"])
        & (kept["shots"] == rows["shots"].max())
        & (kept["seed"] == first["seed"])
    )
    return tuple(kept[found]["arm"].unique())


def pair_rows(overlap: CheckpointPairs, cosine: CheckpointPairs) -> list[dict[str, Any]]:
    """Return one row every two checkpoints, each with itself too.

    Args:
        overlap: Checkpoints compared by token overlap.
        cosine: The same ones by OCS.
    """
    return [
        {
            "arm": overlap.arm,
            "checkpoint": one,
            "other": other,
            "token_overlap": float(overlap.values[row, column]),
            "ocs": float(cosine.values[row, column]),
        }
        for row, one in enumerate(overlap.labels)
        for column, other in enumerate(overlap.labels)
    ]


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


def _labels(rows: Frame) -> tuple[str, ...]:
    several_seeds = rows["seed"].nunique() > 1
    several_layers = rows["layer"].nunique() > 1
    labels = []
    for row in rows.to_dict("records"):
        parts = [f"seed {row['seed']}"] if several_seeds else []
        parts += [f"layer {row['layer']}"] if several_layers else []
        labels.append(", ".join([*parts, f"{row['learning_rate']:g}", f"epoch {row['epoch']}"]))
    return tuple(labels)
