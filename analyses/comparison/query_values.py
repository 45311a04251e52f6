"""A measure of one comparison query by query, in one order for every comparison, so that resamples are paired."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...probes import bootstrap_mean
from ...seeds import derive_seed
from ...study.columns import Frame
from ...study.names import LABEL_KL_FINDING, SETTING_NAMES
from .measures import Intervals
from .rows import Key, Rows

ACCURACY = "accuracy, finetuned"
ACCURACIES = {
    f"{kind}, {name}": (setting, column)
    for kind, column in (("accuracy", "correct"), ("calibrated accuracy", "correct_calibrated"))
    for setting, name in SETTING_NAMES.items()
}
"""Every accuracy over the label set, with the setting and the column of the answers that it is of."""
LABEL_KL = LABEL_KL_FINDING
"""The divergence from ICL's distribution over the labels alone to the finetuned model's, in nats."""


def query_values(tables: Rows, where: Key, measure: str) -> Tensor:
    """Return a measure of one comparison, ``[N, S, L]``: queries by seeds by layers, NaN where one was not asked.

    Args:
        tables: Rows of comparisons.
        where: What tells the comparison apart, such as its recipe and number of shots.
        measure: A similarity, an accuracy as `ACCURACIES` has it (in %, one layer) or `LABEL_KL`.
    """
    queries = _of(tables["queries"], where)
    if measure in ACCURACIES:
        setting, column = ACCURACIES[measure]
        answers = _of(tables["answers"], where)
        answers = answers[answers["setting"] == setting]
        rows = answers.assign(layer=0, value=100.0 * answers[column].astype(float))
    elif measure == LABEL_KL:
        rows = _label_kl(_of(tables["label_logprobs"], where))
    else:
        rows = _of(tables["similarities"], where).rename(columns={measure: "value"})
    rows = rows.merge(queries[["seed", "query", "query_index"]], on=["seed", "query"])
    axes = [rows[column].factorize(sort=True)[0] for column in ("query_index", "seed", "layer")]
    values = torch.full([1 + int(axis.max()) for axis in axes], torch.nan, dtype=torch.float64)
    values[tuple(map(torch.tensor, axes))] = torch.tensor(rows["value"].to_numpy(dtype=float))
    return values


def _of(frame: Frame, where: Key) -> Frame:
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return frame


def over_layers_and_draws(means: Tensor) -> Tensor:
    """Return the mean ``[R, …]`` over draws of the means over layers of ``[R, …, S, L]``, undefined ones left out."""
    return means.nanmean(-1).nanmean(-1)


def _label_kl(logprobs: Frame) -> Frame:
    """Return the divergence of each query of each draw, over the labels renormalised."""
    import numpy as np

    wide = logprobs.pivot(index=["seed", "query", "label"], columns="setting", values="logprob").reset_index()
    groups = wide.groupby(["seed", "query"])
    icl, ft = (
        wide[setting] - groups[setting].transform(lambda of: np.logaddexp.reduce(of.to_numpy(dtype=float)))
        for setting in ("icl", "ft")
    )
    wide = wide.assign(value=np.exp(icl) * (icl - ft), layer=0)
    return wide.groupby(["seed", "query"], as_index=False).agg({"value": "sum", "layer": "first"})


def by_query(indices: Sequence[Sequence[int]], values: Sequence[Tensor]) -> Tensor:
    """Return values of several draws, ``[N, S, L]``, with each query's in one row; NaN where one was not asked.

    Args:
        indices: Of each draw, which queries were asked.
        values: Of each draw, ``[n, L]``.
    """
    asked = sorted({index for some in indices for index in some})
    places = {index: place for place, index in enumerate(asked)}
    joined = torch.full((len(asked), len(values), values[0].shape[1]), torch.nan, dtype=torch.float64)
    for draw, (some, found) in enumerate(zip(indices, values, strict=True)):
        joined[[places[index] for index in some], draw] = found.double()
    return joined


def interval_of(
    values: Tensor,
    name: str,
    intervals: Intervals,
    statistic: Callable[[Tensor], Tensor] = over_layers_and_draws,
) -> dict[str, float]:
    """Return the mean over layers, draws and queries with its interval; queries are resampled whole.

    Args:
        values: ``[N, S, L]``.
        name: Which measure it is, which seeds the resamples.
        intervals: How intervals are made.
        statistic: What to make of the means over queries instead.
    """
    found = bootstrap_mean(
        values,
        seed=derive_seed("bootstrap", name),
        resamples=intervals.resamples,
        level=intervals.level,
        statistic=statistic,
    )
    return {"value": float(found.estimate), "low": float(found.low), "high": float(found.high)}
