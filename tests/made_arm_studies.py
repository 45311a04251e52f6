"""Studies of order, outputs and gradients, made by hand for what is drawn of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from made_study import LONG, study_of

from iclprobe.analyses.outputs.kept_tokens import GROUP, KeptTokens
from iclprobe.probes.distributions import top_tokens


def order_study(models: Sequence[str] = ("one", f"somewhere/{LONG}"), seeds: Sequence[int] = (0, 1)) -> Any:
    given = {
        "task": "tone",
        "shots": 4,
        "layer": None,
        "chosen": False,
        "orders": 10,
        "accuracy_vocabulary": 0.2,
        "queries": 8,
        "demonstrations": 4,
    }
    rows = []

    def add(**fields: Any) -> None:
        rows.append({**given, **fields})

    for model in models:
        for seed in seeds:
            random = np.random.default_rng(seed)
            add(model=model, seed=seed, arm="ICL", learning_rate=None, epoch=None, sensitivity=0.3 + seed / 9)
            rows[-1]["accuracy_labels"] = 0.9
            arms = (
                ("GD", 1e-7, 0.01),
                ("SGD, batch 2", 0.2, 0.01),
                ("SGD, batch 2", 0.3, 0.1),
                ("own", 0.1, 1e-4),
            )
            for arm, size, rate in (*arms, ("SGD, batch 2", math.nan, 5.0)):
                for epoch in range(2, 42, 2):
                    value = size * random.uniform(0.5, 2)
                    add(model=model, seed=seed, arm=arm, learning_rate=rate, epoch=epoch, sensitivity=value)
                    rows[-1]["accuracy_labels"] = random.uniform(0, 1) if size == size else math.nan
            for layer in (1, 3):
                for epoch in (2, 4):
                    add(model=model, seed=seed, arm="GD, deep layer", learning_rate=0.1 + seed, epoch=epoch)
                    rows[-1] |= {"sensitivity": 0.0, "accuracy_labels": 0.5, "layer": layer, "chosen": True}
    return study_of("order", {"rows": rows}, {"seeds": tuple(seeds), "shots": 4})


@cache
def outputs_study(
    models: Sequence[str] = ("one", f"somewhere/{LONG}"),
    shots: Sequence[int] = (4, 64),
    seeds: Sequence[int] = (0, 1),
) -> Any:
    kept = KeptTokens()
    random = np.random.default_rng(0)
    logits = torch.randn(8, 30, generator=torch.Generator().manual_seed(0))
    rows = []

    def add(epoch: int | None, rate: float | None, **fields: Any) -> None:
        nonlocal logits
        logits = logits + 0.3 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(len(rows)))
        place = kept.add(top_tokens(torch.log_softmax(logits, dim=1)))
        measures = ("accuracy_vocabulary", "accuracy_labels", "token_overlap", "ocs")
        row = {"task": "tone", "layer": None, "chosen": False, "queries": 8, "tokens": place, "epoch": epoch}
        row |= {"learning_rate": rate, "token_overlap_std": 0.0, "ocs_std": 0.0}
        rows.append({**row, **{measure: random.uniform(0, 1) for measure in measures}, **fields})

    for model in models:
        for count in shots:
            for seed in seeds:
                where = {"model": model, "shots": count, "seed": seed}
                for arm in ("zero-shot", "ICL"):
                    add(None, None, arm=arm, **where)
                for epoch in (20, 40, 60):
                    for rate in (0.001, 0.01):
                        add(epoch, rate, arm="GD", **where)
                        add(epoch, rate, arm="layer-causal", **where)
                    add(epoch, 0.1 * (1 + seed), arm="Adam", chosen=True, **where)
    names = [f"{rate:g}, epoch {epoch}" for rate in (0.001, 0.01) for epoch in range(10, 110, 10)]
    pairs = [
        {
            "arm": "GD",
            "checkpoint": one,
            "other": two,
            "token_overlap": random.uniform(),
            "ocs": random.uniform(),
        }
        for one in names
        for two in names
    ]
    options = {"seeds": tuple(seeds), "shots": tuple(shots), "models": tuple(models)}
    return study_of("outputs", {"rows": rows, "pairs": pairs}, options, {GROUP: kept.arrays()})


def gradients_study(layers: int = 30, steps: int = 32, seeds: Sequence[int] = (0, 1)) -> Any:
    random = np.random.default_rng(0)
    rows = [
        {"recipe": recipe, "seed": seed, "step": step, "layer": layer, "norm": 10 ** random.uniform(-4, 2)}
        for recipe in ("dai", LONG)
        for seed in seeds
        for step in range(1, steps + 1)
        for layer in range(layers)
    ]
    for row in rows:
        if row["layer"] < 2 and row["recipe"] == "dai":
            row["norm"] = 0.0
    return study_of("gradients", {"norms": rows}, {"seeds": tuple(seeds)})
