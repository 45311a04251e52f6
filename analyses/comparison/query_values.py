"""A measure of one comparison query by query, in one order for every comparison, so that resamples are paired."""

from __future__ import annotations

import torch
from torch import Tensor

from ...study.columns import Frame
from ...study.names import LABEL_KL_FINDING
from .rows import Rows

ACCURACY = "accuracy, finetuned"
LABEL_KL = LABEL_KL_FINDING
"""The divergence from ICL's distribution over the labels alone to the finetuned model's, in nats."""


def query_values(tables: Rows, name: str, shots: int, measure: str) -> Tensor:
    """Return a measure of one checkpoint, ``[N, S, L]``: queries by seeds by layers, NaN where one was not asked."""
    queries = _of(tables["queries"], name, shots)
    if measure == ACCURACY:
        answers = _of(tables["answers"], name, shots)
        rows = answers[answers["setting"] == "ft"].assign(
            layer=0, value=lambda found: 100.0 * found["correct"]
        )
    elif measure == LABEL_KL:
        rows = _label_kl(_of(tables["label_logprobs"], name, shots))
    else:
        rows = _of(tables["similarities"], name, shots).rename(columns={measure: "value"})
    rows = rows.merge(queries[["seed", "query", "query_index"]], on=["seed", "query"])
    axes = [rows[column].factorize()[0] for column in ("query_index", "seed", "layer")]
    values = torch.full([1 + int(axis.max()) for axis in axes], torch.nan, dtype=torch.float64)
    values[tuple(map(torch.tensor, axes))] = torch.tensor(rows["value"].to_numpy(dtype=float))
    return values


def _of(frame: Frame, name: str, shots: int) -> Frame:
    return frame[(frame["recipe"] == name) & (frame["shots"] == shots)]


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
