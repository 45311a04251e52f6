"""Measuring how attention weights move over a series of checkpoints, and accuracy in context beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from statistics import fmean, mean
from typing import Any

from torch import Tensor

from ...addresses import public
from ...progress import progressing
from ...study.finding import Finding
from ...study.names import MATRIX_NAMES
from ..context import Context, Measured
from .config import DriftConfig
from .icl_accuracy import icl_accuracy
from .matrix_drift import AGAINST, MatrixDrift, compare_weights
from .series import with_series

MEASURES = ("mean_absolute", "rms", "relative_frobenius")
"""How far a matrix moved: columns of the tables."""

Rows = list[dict[str, Any]]


def measure_drift(config: DriftConfig, context: Context) -> Measured:
    """Compare the weights of a series of checkpoints, and run tasks in context at each (Shen et al. §3.3, App. B).

    Every tensor is read once; at any time a few tensors of one layer are in memory, however many checkpoints
    there are. No model is built unless tasks are run.

    Args:
        config: What is asked.
        context: Told which weights are read.

    Raises:
        UserError: If the checkpoints cannot be read, are of different shapes, or hold undefined entries.
    """
    config = with_series(config)
    for checkpoint in config.checkpoints:
        context.note_weights(checkpoint.model)
    labels = [checkpoint.label for checkpoint in config.checkpoints]
    moved, between = compare_weights(config)
    gaps = _gaps(moved, labels)
    accuracies = _accuracies(config) if config.icl else []
    return Measured(
        config,
        {
            "drift": [_row(row, labels) for row in moved],
            "gaps": gaps,
            "between": _between(between, labels),
            "accuracy": accuracies,
            "checkpoints": [
                {
                    "place": place,
                    "checkpoint": checkpoint.label,
                    "model": public(checkpoint.model),
                    "revision": checkpoint.revision,
                    "step": checkpoint.step,
                }
                for place, checkpoint in enumerate(config.checkpoints)
            ],
            "facts": _facts(config, moved),
        },
        (*_results(gaps, accuracies), *_warnings(moved)),
    )


def _row(row: MatrixDrift, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "layer": row.layer,
        "matrix": row.matrix,
        "place": row.checkpoint,
        "checkpoint": labels[row.checkpoint],
        "against": row.against,
        "step_gap": row.step_gap,
        **asdict(row.drift),
        "update_cosine": row.update_cosine,
    }


def _gaps(moved: Sequence[MatrixDrift], labels: Sequence[str]) -> Rows:
    """Return the means over matrices and layers: the parameter gap (Shen et al. App. B), and the cosines."""
    found: dict[tuple[int, str], list[MatrixDrift]] = {}
    for row in moved:
        found.setdefault((row.checkpoint, row.against), []).append(row)
    gaps = []
    for place, label in enumerate(labels):
        for against in AGAINST:
            rows = found.get((place, against))
            if rows is None:
                continue
            cosines = [row.update_cosine for row in rows if not math.isnan(row.update_cosine)]
            gaps.append(
                {
                    "place": place,
                    "checkpoint": label,
                    "against": against,
                    **{name: sum(getattr(row.drift, name) for row in rows) / len(rows) for name in MEASURES},
                    "update_cosine": mean(cosines) if cosines else math.nan,
                }
            )
    return gaps


def _between(values: Tensor, labels: Sequence[str]) -> Rows:
    return [
        {
            "place": place,
            "checkpoint": labels[place],
            "other_place": other,
            "other": labels[other],
            "mean_absolute": gap,
        }
        for place, gaps in enumerate(values.tolist())
        for other, gap in enumerate(gaps)
    ]


def _accuracies(config: DriftConfig) -> Rows:
    return [
        {"place": place, "checkpoint": checkpoint.label, **asdict(accuracy)}
        for place, checkpoint in enumerate(progressing(config.checkpoints, "in context", "checkpoints"))
        for accuracy in icl_accuracy(
            checkpoint,
            config.icl,
            shots=config.shots,
            seeds=config.seeds,
            limit=config.limit,
            data=config.data,
            device=config.device,
            tokenizer=config.tokenizer,
            trust_remote_code=config.trust_remote_code,
        )
    ]


def _facts(config: DriftConfig, moved: Sequence[MatrixDrift]) -> Rows:
    first, last = config.checkpoints[0], config.checkpoints[-1]
    names = ", ".join(MATRIX_NAMES[matrix] for matrix in config.matrices)
    facts = [
        {"name": "series", "text": f"{len(config.checkpoints)} checkpoints, {first.place} to {last.place}"},
        {"name": "weights", "text": f"{names} of {len({row.layer for row in moved})} layers"},
    ]
    if config.icl:
        seeds = ", ".join(map(str, config.seeds))
        text = f"{', '.join(config.icl)}: {config.shots} shots, seeds {seeds}"
        facts.append({"name": "in context", "text": text})
    return facts


def _results(gaps: Rows, accuracies: Rows) -> Iterator[Finding]:
    """Return the gaps and cosines of each checkpoint, and its accuracies, means over draws."""
    for row in gaps:
        where, against = {"checkpoint": row["checkpoint"]}, row["against"]
        at = f"checkpoint {row['checkpoint']}"
        told = f"{at}: mean |ΔW| to the {against} checkpoint is {row['mean_absolute']:.3g}"
        yield Finding(f"mean |ΔW| to the {against}", told, value=row["mean_absolute"], where=where)
        if against != "previous":
            continue
        relative, cosine = row["relative_frobenius"], row["update_cosine"]
        told = f"{at}: the update is {relative:.3g} of the weights' Frobenius norm"
        yield Finding("‖ΔW‖ / ‖W‖ since the previous", told, value=relative, where=where)
        if not math.isnan(cosine):
            told = f"{at}: the update's cosine with the one before is {cosine:.2f}"
            yield Finding("update cosine", told, value=cosine, null=0.0, unit="cosine", where=where)
    for label, task in dict.fromkeys((row["checkpoint"], row["task"]) for row in accuracies):
        found = [row for row in accuracies if (row["checkpoint"], row["task"]) == (label, task)]
        value, chance = 100 * fmean(row["icl"] for row in found), 100 * found[0]["chance"]
        yield Finding(
            "ICL accuracy",
            f"checkpoint {label}: accuracy on {task} in context is {value:.1f} % (chance {chance:.1f} %)",
            value=value,
            null=chance,
            unit="%",
            where={"checkpoint": label, "task": task},
        )


def _warnings(moved: Sequence[MatrixDrift]) -> Iterator[Finding]:
    cosines = [row.update_cosine for row in moved if row.against == "previous" and row.checkpoint >= 2]
    undefined = sum(map(math.isnan, cosines))
    if undefined:
        yield Finding(
            "update cosines",
            f"{undefined} of {len(cosines)} cosines are undefined, where an update is no longer than the rounding "
            "of the stored weights, and left out",
            "warning",
            value=undefined,
        )
    broken = [row for row in moved if row.drift.undefined]
    if broken:
        most = max(row.drift.undefined for row in broken)
        yield Finding(
            "undefined entries",
            f"up to {most} NaN or infinite entries of a matrix left out, in {len(broken)} of {len(moved)} rows",
            "warning",
            value=most,
        )
