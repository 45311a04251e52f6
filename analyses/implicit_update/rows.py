"""What is measured of the implicit updates of one draw, as rows with intervals over queries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ...probes import bootstrap_ratio, update_alignment
from ...probes.transfer import centred_labels, closed
from ...seeds import derive_seed
from ..comparison.reduction import partners_of
from ..layer_measures import LayerMeasure
from .config import ImplicitUpdateConfig
from .draw import ImplicitDraw
from .judged import CONDITIONS

LENGTH, RANK, EXPLAINED = "length", "effective rank", "explained"
WEIGHTS, OUTPUTS = "alignment of weights", "alignment of outputs"
CLOSED = ("closed", "closed_particular")
BEYOND = "shared beyond mean"
"""What one update for all closes more than the mean change does, query by query."""


def implicit_rows(
    config: ImplicitUpdateConfig, draw: ImplicitDraw, judged: Tensor | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of one draw: of the table ``measures``, and of ``layers``.

    Args:
        config: What is asked.
        draw: The draw.
        judged: Label log-probabilities under each condition ``[N, L, K, C]``; None where that was not run.
    """
    seed, numbers = draw.cell.seed, tuple(layer.maps.layer for layer in draw.layers)
    drawn: dict[str, Any] = {
        "seed": derive_seed("bootstrap", seed),
        "resamples": config.resamples,
        "level": config.level,
    }
    measures, layers = [], []
    for each in _of_weights(config, draw):
        measures.append({"seed": seed, "null": None, **each.row_over_layers(**drawn)})
        layers += [{"seed": seed, "null": None, **row} for row in each.rows_by_layer(numbers, **drawn)]
    ranks = torch.tensor([layer.updates.effective_rank for layer in draw.layers])
    counts = torch.stack([layer.updates.defined for layer in draw.layers]).sum(1)
    rank = {"seed": seed, "measure": RANK, "condition": "own", "low": math.nan, "high": math.nan}
    measures.append({**rank, "value": float(ranks.nanmean()), "null": float(counts.double().mean())})
    for number, value, count in zip(numbers, ranks.tolist(), counts.tolist(), strict=True):
        row = {**rank, "layer": number, "value": value, "null": float(count)}
        layers.append({**row, "defined": count, "of": len(draw.half)})
    if judged is not None:
        for place, number in enumerate(numbers):
            for row in _of_answers(draw, judged[:, place], drawn):
                layers.append({"seed": seed, "layer": number, **row})
    return measures, layers


def _of_weights(config: ImplicitUpdateConfig, draw: ImplicitDraw) -> Iterator[LayerMeasure]:
    layers = draw.layers
    partners = partners_of(len(draw.half), config.null_draws, draw.cell.seed)
    yield LayerMeasure(_key(LENGTH, "own"), torch.stack([layer.length for layer in layers], dim=1))
    squares = torch.stack(
        [
            layer.updates.outputs.square().sum(-1).masked_fill(~layer.updates.defined, torch.nan)
            for layer in layers
        ],
        dim=1,
    )
    for condition, name in (("shared", "predicted"), ("mean", "mean"), ("permuted", "permuted")):
        left = torch.stack(
            [(getattr(layer.shared, name) - layer.updates.outputs).square().sum(-1) for layer in layers],
            dim=1,
        )
        yield LayerMeasure(_key(EXPLAINED, condition), left, squares, of_ratio=_explained)
    found = [
        None if layer.finetuned is None else update_alignment(layer.updates, layer.finetuned, partners)
        for layer in layers
    ]
    nothing = torch.full((len(draw.half),), torch.nan, dtype=torch.float64)
    for measure, name in ((WEIGHTS, "weights"), (OUTPUTS, "outputs")):
        own, permuted = (
            torch.stack([nothing if each is None else getattr(each, field) for each in found], dim=1)
            for field in (name, f"{name}_permuted")
        )
        yield LayerMeasure(_key(measure, "own"), own, nulls={"null": permuted})


def _explained(left: Tensor) -> Tensor:
    return 1 - left


def _key(measure: str, condition: str) -> dict[str, str]:
    return {"measure": measure, "condition": condition}


def _of_answers(draw: ImplicitDraw, judged: Tensor, drawn: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what each condition does in one layer; `judged` is ``[N, K, C]``."""
    before, after = (draw.answers[name].label_logprobs for name in ("zsl", "icl"))
    for kind, condition in enumerate(CONDITIONS):
        both = closed(judged[:, kind], before, after, **drawn)
        for measure, interval in zip(CLOSED, both, strict=True):
            ends = {"value": interval.estimate, "low": interval.low, "high": interval.high}
            yield {
                **_key(measure, condition),
                **{name: float(end) for name, end in ends.items()},
                "null": None,
                "defined": len(judged),
                "of": len(judged),
            }
    goal = centred_labels(after)
    shared, mean = (
        (centred_labels(judged[:, CONDITIONS.index(name)]) - goal).square().sum(-1)
        for name in ("shared", "mean")
    )
    interval = bootstrap_ratio(mean - shared, (centred_labels(before) - goal).square().sum(-1), **drawn)
    yield {
        **_key("closed", BEYOND),
        "value": float(interval.estimate),
        "low": float(interval.low),
        "high": float(interval.high),
        "null": 0.0,
        "defined": len(judged),
        "of": len(judged),
    }
