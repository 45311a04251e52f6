"""What a study of the construction found: how far the trained layer is from gradient descent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...study.finding import Finding
from .config import ConstructionConfig
from .sparsity import THRESHOLDS
from .sweeps import INTERPOLATED, LINE

_CONVERGED = 1.05
_DELTA = min(THRESHOLDS, key=lambda threshold: abs(threshold - 1e-2))


def construction_findings(config: ConstructionConfig, tables: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return what the tables say, and a warning where the trained layer is not yet as good as gradient descent.

    Args:
        config: What was asked.
        tables: Rows by table.
    """
    return (
        *_agreement(config, tables["training"], tables["construction"][0]),
        *_weights(tables["construction"][0]),
        _line(tables["sweeps"]),
        *_estimators(tables["estimators"]),
        *_sparsity(tables["sparsity"]),
        *_not_arrived(tables["training"][-1]["loss"], tables["construction"][0]["loss"]),
    )


def _agreement(
    config: ConstructionConfig, training: list[dict[str, Any]], constructed: Mapping[str, float]
) -> Iterator[Finding]:
    basis = f"mean over {config.evaluation_tasks} tasks"
    size, loss = constructed["step_size"], constructed["loss"]
    yield Finding("step size of gradient descent", f"the best step size is {size:.4g}", value=size)
    told = f"one step of gradient descent has a loss of {loss:.5f}"
    yield Finding("loss of gradient descent", told, value=loss, basis=basis)
    for name, unit, sentence in (
        ("loss", "", "the trained layer has a loss of {:.5f}"),
        ("prediction_difference", "L2", "its predictions are {:.5f} from gradient descent's"),
        ("sensitivity_cosine", "cosine", "its sensitivities have a cosine of {:.5f} with gradient descent's"),
        ("sensitivity_difference", "L2", "its sensitivities are {:.5f} from gradient descent's"),
    ):
        before, after = training[0][name], training[-1][name]
        told = f"{sentence.format(after)}, before training {before:.5f}"
        yield Finding(name.replace("_", " "), told, value=after, null=before, unit=unit, basis=basis)


def _weights(constructed: Mapping[str, float]) -> Iterator[Finding]:
    for column, product in (("key_query_distance", "W_Kᵀ W_Q"), ("projected_value_distance", "P W_V")):
        distance = constructed[column]
        told = f"trained {product} is {distance:.3g} of the constructed one's size away from it"
        yield Finding("relative distance of weights", told, value=distance, where={"product": product})


def _line(sweeps: list[dict[str, Any]]) -> Finding:
    losses = [row["loss"] for row in sweeps if (row["varied"], row["learner"]) == (LINE, INTERPOLATED)]
    highest = float(np.max(losses))
    told = f"between the two weight sets the loss is at most {highest:.5f}"
    return Finding("highest loss between the weight sets", told, value=highest)


def _estimators(rows: list[dict[str, Any]]) -> Iterator[Finding]:
    for row in rows:
        for column in ("squared_prediction_difference", "implicit_weight_difference"):
            name = column.replace("_", " ")
            told = f"{row['estimator']}: {name} from the trained layer {row[column]:.3g}"
            yield Finding(name, told, value=row[column], where={"estimator": row["estimator"]})


def _sparsity(rows: list[dict[str, Any]]) -> Iterator[Finding]:
    for row in rows:
        if row["threshold"] == _DELTA:
            share = 100 * row["below"]
            told = f"{row['weights']}: {share:.2f} % of the entries of {row['matrix']} are below {_DELTA:g}"
            yield Finding(
                f"entries below {_DELTA:g}",
                told,
                value=share,
                unit="%",
                where={"weights": row["weights"], "matrix": row["matrix"]},
            )


def _not_arrived(trained: float, descent: float) -> Iterator[Finding]:
    ratio = trained / descent if descent else math.nan
    if ratio > _CONVERGED:
        yield Finding(
            "convergence",
            f"the trained layer's loss is {ratio:.2f} times gradient descent's: it has not arrived, or stays where "
            "scores come from y and values from x, as it may with small N_x; take more steps or another seed",
            "warning",
            value=ratio,
            null=1.0,
        )
