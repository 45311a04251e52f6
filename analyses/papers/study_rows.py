"""The rows of the order and outputs studies that tables, figures and claims of the papers are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas
import torch
from torch import Tensor

from ...study.names import ICL, ZERO_SHOT


@dataclass(frozen=True)
class OrderRow:
    """The order sensitivity of one algorithm at one evaluation.

    Attributes:
        seed: Of the draw of demonstrations.
        arm: Which algorithm; ``ICL`` has no epoch.
        layer: The drawn layer, if one was.
        learning_rate: The learning rate; NaN of ICL.
        epoch: The epoch; 0 of ICL.
        sensitivity: Sen, mean over queries.
        accuracy: Over the vocabulary, mean over orders.
    """

    seed: int
    arm: str
    layer: int | None
    learning_rate: float
    epoch: int
    sensitivity: float
    accuracy: float


@dataclass(frozen=True)
class OutputRow:
    """What one way of learning does to the output distribution at one evaluation.

    Attributes:
        seed: Of the draw of demonstrations.
        shots: Demonstrations.
        arm: Which; ``ICL`` and ``zero-shot`` have no epoch.
        layer: The drawn layer, if one was.
        learning_rate: The learning rate; NaN where there is none.
        epoch: The epoch; 0 where there is none.
        accuracy: Over the vocabulary.
        token_overlap: With ICL; of ICL, with another order of its demonstrations.
        ocs: Likewise.
    """

    seed: int
    shots: int
    arm: str
    layer: int | None
    learning_rate: float
    epoch: int
    accuracy: float
    token_overlap: float
    ocs: float

    @property
    def is_finetuned(self) -> bool:
        """Whether it is a finetuned model's."""
        return self.arm not in (ICL, ZERO_SHOT)


def order_rows(study: Any) -> list[OrderRow]:
    """Return the rows of an order study."""
    return [
        OrderRow(**_run(row), sensitivity=row["sensitivity"], accuracy=row["accuracy_vocabulary"])
        for row in study.tables["rows"].to_dict("records")
    ]


def output_rows(study: Any) -> list[OutputRow]:
    """Return the rows of an outputs study."""
    return [
        OutputRow(
            **_run(row),
            shots=row["shots"],
            accuracy=row["accuracy_vocabulary"],
            token_overlap=row["token_overlap"],
            ocs=row["ocs"],
        )
        for row in study.tables["rows"].to_dict("records")
    ]


def late_pairs(study: Any, arm: str, metric: Any) -> dict[int, list[float]]:
    """Return, for each draw, how much every two checkpoints of an arm agree, those of the first evaluation left out.

    Args:
        study: An outputs study of one model and one number of demonstrations (Shen et al. §5.2).
        arm: The arm.
        metric: ``token_overlap`` or ``ocs``.
    """
    rows = study.tables["rows"]
    epochs = sorted(rows.loc[rows["arm"] == arm, "epoch"].unique().tolist())
    result = {}
    for seed in rows["seed"].unique().tolist():
        values = study.pairwise(arm, metric, seeds=(seed,), epochs=tuple(epochs[1:])).values
        result[seed] = [float(values[one, two]) for one, two in combinations(range(len(values)), 2)]
    return result


def gradient_norms(study: Any, recipe: str) -> Tensor:
    """Return gradient norms ``[S, L]`` of one recipe, by demonstration and layer, mean over draws.

    Args:
        study: The study.
        recipe: The recipe's name.
    """
    norms = study.tables["norms"]
    found = norms[norms["recipe"] == recipe]
    by_step = found.pivot_table(index="step", columns="layer", values="norm", dropna=False)
    return torch.tensor(by_step.to_numpy(dtype=float))


def _run(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return which run a row is of: no epoch is 0, and no layer None."""
    return {
        "seed": row["seed"],
        "arm": row["arm"],
        "layer": None if pandas.isna(row["layer"]) else row["layer"],
        "learning_rate": row["learning_rate"],
        "epoch": 0 if pandas.isna(row["epoch"]) else row["epoch"],
    }


def constructed_fractions(study: Any) -> dict[str, float]:
    """Return the fraction of zeros of each matrix of the construction at the width of a sparsity study's model."""
    construction = study.tables["construction"]
    return dict(zip(construction["matrix"], construction["below"].tolist(), strict=True))


def parameter_gap(study: Any, against: str) -> list[float]:
    """Return the parameter gap of a drift study at each checkpoint; NaN where there is none to compare with.

    Args:
        study: The study.
        against: ``previous``, ``first`` or ``last``.
    """
    gaps = study.tables["gaps"]
    found = gaps[gaps["against"] == against].set_index("place")["mean_absolute"]
    return found.reindex(range(len(study.tables["checkpoints"]))).tolist()
