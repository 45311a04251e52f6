"""Studies of sparsity and drift, made by hand for what is drawn of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas
from made_study import LONG, study_of

MATRICES = ("query", "key", "value")
THRESHOLDS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def sparsity_study(layers: int = 6, heads: int = 4, known: bool = True) -> Any:
    random = np.random.default_rng(0)
    fractions, of_heads = [], []
    for matrix in MATRICES:
        for layer in range(layers):
            for threshold in THRESHOLDS:
                below = 0.0 if threshold < 1e-5 else min(1.0, 30 * threshold * random.uniform(0.3, 1))
                where = {"layer": layer, "matrix": matrix, "threshold": threshold}
                fractions.append({**where, "below": below, "below_relative": below / 20})
                of_heads += [
                    {
                        **where,
                        "head": head,
                        "below": below * random.uniform(0.5, 1),
                        "below_relative": below / 9,
                    }
                    for head in range(heads)
                ]
    frame = pandas.DataFrame(fractions)
    averages = frame.groupby(["matrix", "threshold"], sort=False, as_index=False)[
        ["below", "below_relative"]
    ].mean()
    constructed = {"query": 0.99, "key": 0.99, "value": 0.745}
    tables = {
        "fractions": fractions,
        "matrices": [{"layer": layer, "matrix": matrix} for matrix in MATRICES for layer in range(layers)],
        "heads": of_heads if known else [{**row} for row in of_heads if row["matrix"] == "query"],
        "averages": averages,
        "construction": [{"matrix": matrix, "below": below} for matrix, below in constructed.items()],
    }
    return study_of("sparsity", tables, {"model": f"somewhere/{LONG}"})


def drift_study(
    steps: Sequence[int | None] = (0, 16, 32, 64, 128, 256, 362, 512, 608, 724, 861, 1024, 1152, 1280),
    tasks: Sequence[str] = ("pocket-tone", LONG),
    layers: int = 6,
) -> Any:
    random = np.random.default_rng(0)
    names = [f"some-checkpoint-{place}" if step is None else str(step) for place, step in enumerate(steps)]
    count = len(steps)
    gaps, drift, accuracy, between = [], [], [], []
    for place in range(count):
        where = {"place": place, "checkpoint": names[place]}
        for against in ("previous", "first", "last"):
            if (against == "last" and place == count - 1) or (against != "last" and place == 0):
                continue
            gaps.append({**where, "against": against, "mean_absolute": random.uniform(0, 0.05)})
            drift += [
                {**where, "against": against, "layer": layer, "matrix": matrix}
                | {"relative_frobenius": math.nan if layer == 0 and place == 1 else random.uniform(0, 0.3)}
                for matrix in MATRICES
                for layer in range(layers)
            ]
        accuracy += [
            {**where, "task": task, "seed": seed, "icl": random.uniform(0, 1), "chance": 0.25}
            for task in tasks
            for seed in (0, 1)
        ]
        between += [
            {**where, "other_place": other, "other": names[other], "mean_absolute": abs(place - other) / 100}
            for other in range(count)
        ]
    checkpoints = pandas.DataFrame({"place": range(count), "checkpoint": names, "model": "org/pocket"})
    checkpoints["step"] = pandas.array(list(steps), dtype="Int64")
    columns = ["place", "checkpoint", "task", "seed", "icl", "chance"]
    tables = {"drift": drift, "gaps": gaps, "between": between, "checkpoints": checkpoints}
    tables["accuracy"] = pandas.DataFrame(accuracy, columns=columns)
    return study_of("drift", tables)
