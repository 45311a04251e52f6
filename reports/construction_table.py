"""The table of a study of the construction, as text and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING

from ..analyses.construction.sparsity import THRESHOLDS
from ..analyses.construction.sweeps import INTERPOLATED, TRAINED, Sweep
from .plain_table import aligned, number

if TYPE_CHECKING:
    from ..analyses.construction.study import ConstructionStudy

_DELTA = 1e-2
_CONVERGED = 1.05
_WIDTH = 100
_MATRIX_NAMES = {
    "query": "W_Q",
    "key": "W_K",
    "value": "W_V",
    "key_query": "W_Kᵀ W_Q, rescaled",
    "projected_value": "P W_V, rescaled",
}


@dataclass(frozen=True)
class _Block:
    """A rectangle of cells under one heading."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def construction_text(study: ConstructionStudy) -> str:
    """Return the table as plain text.

    Args:
        study: The study.
    """
    facts = _facts(study)
    width = max(len(name) for name, _ in facts)
    lines = [f"{name:<{width}}  {value}" for name, value in facts]
    lines += [line for warning in _warnings(study) for line in wrap(f"warning: {warning}", _WIDTH)]
    for block in _blocks(study):
        lines += ["", *aligned(block.header, block.rows)]
    return "\n".join([*lines, "", *_notes(study)])


def construction_html(study: ConstructionStudy) -> str:
    """Return the table as HTML for a notebook; every text is escaped.

    Args:
        study: The study.
    """
    facts = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in _facts(study)
    )
    tables = "".join(
        "<table><thead>" + _html_row(block.header, "th") + "</thead><tbody>"
        "" + "".join(_html_row(row, "td") for row in block.rows) + "</tbody></table>"
        for block in _blocks(study)
    )
    warnings = "".join(f"<p>warning: {escape(warning)}</p>" for warning in _warnings(study))
    notes = "<br>".join(escape(note) for note in _notes(study))
    return (
        f'<div class="iclprobe-construction"><table>{facts}</table>{warnings}{tables}'
        f"<p><small>{notes}</small></p></div>"
    )


def _html_row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _facts(study: ConstructionStudy) -> list[tuple[str, str]]:
    config = study.config
    return [
        (
            "task",
            f"in-context linear regression: N_x = {config.n_x}, N_y = {config.n_y}, "
            f"N = {config.demonstrations} demonstrations, seed {config.seed}",
        ),
        (
            "trained",
            f"{config.steps} steps of Adam on {config.batch_size} new tasks each, "
            f"learning rate {config.learning_rate:g} ({config.schedule})",
        ),
        (
            "compared with",
            f"one step of gradient descent, eta = {study.step_size:.4g} by line search, "
            f"on {config.evaluation_tasks} tasks",
        ),
    ]


def _warnings(study: ConstructionStudy) -> list[str]:
    ratio = float(study.training.losses[-1]) / study.construction_loss
    if ratio <= _CONVERGED:
        return []
    return [
        f"the trained layer's loss is {ratio:.2f} times gradient descent's: it has not arrived, or stays where "
        "scores come from y and values from x, as it may with small N_x; take more steps or another seed"
    ]


def _blocks(study: ConstructionStudy) -> list[_Block]:
    return [
        _agreement(study),
        _distances(study),
        *(_sweep(sweep) for sweep in study.sweeps[1:]),
        _interpolated(study),
        _estimators(study),
        _sparsity(study),
    ]


def _agreement(study: ConstructionStudy) -> _Block:
    before, after = study.training.agreements[0], study.training.agreements[-1]
    losses = study.training.losses
    rows = [
        ("loss", float(losses[0]), float(losses[-1])),
        ("prediction difference", before.prediction_difference, after.prediction_difference),
        ("sensitivity cosine", before.sensitivity_cosine, after.sensitivity_cosine),
        ("sensitivity difference", before.sensitivity_difference, after.sensitivity_difference),
    ]
    cells = [(name, number(first, ".5f"), number(last, ".5f")) for name, first, last in rows]
    cells[0] = (f"loss (gradient descent: {study.construction_loss:.5f})", *cells[0][1:])
    return _Block(("trained layer and gradient descent", "before training", "trained"), tuple(cells))


def _distances(study: ConstructionStudy) -> _Block:
    key_query, projected_value = study.product_distances
    return _Block(
        ("trained and constructed weights", "relative distance"),
        (("W_Kᵀ W_Q, x columns", number(key_query)), ("P W_V, y rows", number(projected_value))),
    )


def _sweep(sweep: Sweep) -> _Block:
    return _Block(
        (f"loss by {sweep.varied}", *(f"{value:g}" for value in sweep.values)),
        tuple((learner, *map(number, losses.tolist())) for learner, losses in sweep.losses.items())
        + tuple(
            (f"‖{learner} - trained‖", *map(number, gaps.tolist()))
            for learner, gaps in sweep.differences.items()
            if learner != INTERPOLATED
        ),
    )


def _interpolated(study: ConstructionStudy) -> _Block:
    losses = study.interpolation.losses[INTERPOLATED]
    ends = [study.interpolation.losses[TRAINED][0], losses[-1], losses.max()]
    return _Block(
        ("loss along the line between the weights", "trained", "constructed", "highest"),
        (("interpolated", *(number(float(loss), ".5f") for loss in ends)),),
    )


def _estimators(study: ConstructionStudy) -> _Block:
    rows = [
        (
            row.estimator,
            number(row.loss),
            number(row.squared_prediction_difference),
            number(row.implicit_weight_difference),
        )
        for row in study.estimators
    ]
    return _Block(("trained layer and estimators", "its loss", "SPD", "ILWD"), tuple(rows))


def _sparsity(study: ConstructionStudy) -> _Block:
    sparsity, model = study.sparsity, study.sparsity.pretrained
    index = min(range(len(THRESHOLDS)), key=lambda place: abs(THRESHOLDS[place] - _DELTA))
    names = ["constructed", "trained for ICL"]
    if model is not None:
        names += [model.model, f"constructed at width {model.width}"]
    rows = []
    for matrix, name in _MATRIX_NAMES.items():
        fractions = [
            float(curves[matrix].absolute[index]) if matrix in curves else None
            for curves in sparsity.kinds.values()
        ]
        if model is not None:
            fractions.append(model.constructed_zeros.get(matrix))
        rows.append((name, *("" if part is None else number(100 * part, ".2f") for part in fractions)))
    return _Block((f"entries with |w| < {_DELTA:g} (%)", *names), tuple(rows))


def _notes(study: ConstructionStudy) -> list[str]:
    return [
        "loss: mean of ½ ‖f - y‖². Differences are mean L2 norms; sensitivities are ∂f/∂x_query.",
        "interpolated: W_Kᵀ W_Q and P W_V halfway between trained and constructed, after W_Kᵀ W_Q is divided by the",
        "mean of its x diagonal and P W_V multiplied by it. Only these products are determined by the function: an",
        "invertible matrix may stand between W_K and W_Q, so trained W_K and W_Q are dense where the product is not.",
        f"demonstrations: gradient descent takes eta / N; P built for N = {study.config.demonstrations} "
        "keeps its weights.",
    ]
