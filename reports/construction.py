"""The sheet of a study of the construction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..study.sheet import Block, Sheet, sheet_of
from .numbers import number

if TYPE_CHECKING:
    from ..study.columns import Frame
    from ..study.study import Study

TRAINED, DESCENT, INTERPOLATED = "trained layer", "gradient descent", "interpolated"
LINE = "fraction of the way from the trained layer to the construction"
_DELTA = 1e-2
_MATRIX_NAMES = {
    "query": "W_Q",
    "key": "W_K",
    "value": "W_V",
    "key_query": "W_Kᵀ W_Q, rescaled",
    "projected_value": "P W_V, rescaled",
}


def construction_sheet(study: Study) -> Sheet:
    """Return how the trained layer agrees with gradient descent, in function and in weights.

    Args:
        study: A study of the construction.
    """
    sweeps = study.tables["sweeps"]
    blocks = (
        _agreement(study.tables["training"], study.tables["construction"]),
        _distances(study.tables["construction"]),
        *(_sweep(sweep) for varied, sweep in sweeps.groupby("varied", sort=False) if varied != LINE),
        _interpolated(sweeps[sweeps["varied"] == LINE]),
        _estimators(study.tables["estimators"]),
        _sparsity(study.tables["sparsity"], study.tables["zeros"]),
    )
    return sheet_of(study, blocks, _notes(study.config.demonstrations))


def _agreement(training: Frame, constructed: Frame) -> Block:
    descent = number(constructed["loss"].iloc[0], ".5f")
    names = {
        "loss": f"loss (gradient descent: {descent})",
        "prediction_difference": "prediction difference",
        "sensitivity_cosine": "sensitivity cosine",
        "sensitivity_difference": "sensitivity difference",
    }
    ends = training.iloc[[0, -1]]
    rows = tuple((name, _cells(ends[column], ".5f")) for column, name in names.items())
    return Block("trained layer and gradient descent", ("before training", "trained"), rows)


def _distances(constructed: Frame) -> Block:
    rows = (
        ("W_Kᵀ W_Q, x columns", _cells(constructed["key_query_distance"])),
        ("P W_V, y rows", _cells(constructed["projected_value_distance"])),
    )
    return Block("trained and constructed weights", ("relative distance",), rows)


def _sweep(sweep: Frame) -> Block:
    """One row a value, for there may be many: each learner's loss, and how far it is from the trained layer."""
    learners = dict(iter(sweep.groupby("learner", sort=False)))
    columns = [
        [(number(loss),) if learner == TRAINED else (number(loss), f"Δ {number(gap)}") for loss, gap in pairs]
        for learner, rows in learners.items()
        for pairs in [zip(rows["loss"], rows["difference"], strict=True)]
    ]
    values = [f"{value:g}" for value in learners[TRAINED]["value"]]
    rows = tuple(zip(values, zip(*columns, strict=True), strict=True))
    return Block(f"loss by {sweep['varied'].iloc[0]}", tuple(learners), rows)


def _interpolated(line: Frame) -> Block:
    trained, losses = (
        line.loc[line["learner"] == learner, "loss"].to_numpy() for learner in (TRAINED, INTERPOLATED)
    )
    cells = _cells((trained[0], losses[-1], losses.max()), ".5f")
    heading = "loss along the line between the weights"
    return Block(heading, ("trained", "constructed", "highest"), ((INTERPOLATED, cells),))


def _estimators(estimators: Frame) -> Block:
    columns = ("loss", "squared_prediction_difference", "implicit_weight_difference")
    rows = tuple(
        (row["estimator"], _cells(row[column] for column in columns)) for _, row in estimators.iterrows()
    )
    return Block("trained layer and estimators", ("its loss", "SPD", "ILWD"), rows)


def _sparsity(sparsity: Frame, zeros: Frame) -> Block:
    at = min(sparsity["threshold"], key=lambda threshold: abs(threshold - _DELTA))
    chosen = sparsity[sparsity["threshold"] == at]
    columns = {
        weights: dict(zip(rows["matrix"], rows["below"], strict=True))
        for weights, rows in chosen.groupby("weights", sort=False)
    }
    headings = list(columns)
    if len(zeros):
        model, width = zeros["model"].iloc[0], zeros["width"].iloc[0]
        headings = [*headings[:-1], model, f"constructed at width {width}"]
        columns["zeros"] = dict(zip(zeros["matrix"], zeros["zeros"], strict=True))
    rows = tuple(
        (name, tuple(_percent(fractions.get(matrix)) for fractions in columns.values()))
        for matrix, name in _MATRIX_NAMES.items()
    )
    return Block(f"entries with |w| < {_DELTA:g} (%)", tuple(headings), rows)


def _percent(fraction: float | None) -> tuple[str, ...]:
    return ("",) if fraction is None else (number(100 * fraction, ".2f"),)


def _cells(values: Frame, form: str = ".3g") -> tuple[tuple[str, ...], ...]:
    return tuple((number(value, form),) for value in values)


def _notes(demonstrations: int) -> tuple[str, ...]:
    return (
        "loss: mean of ½ ‖f - y‖². Differences are mean L2 norms, Δ that from the trained layer's predictions; "
        "sensitivities are ∂f/∂x_query.",
        "interpolated: W_Kᵀ W_Q and P W_V halfway between trained and constructed, after W_Kᵀ W_Q is divided by "
        "the mean of its x diagonal and P W_V multiplied by it. Only these products are determined by the "
        "function: an invertible matrix may stand between W_K and W_Q, so trained W_K and W_Q are dense where the "
        "product is not.",
        f"demonstrations: gradient descent takes eta / N; P built for N = {demonstrations} keeps its weights.",
    )
