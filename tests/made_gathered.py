"""Sweeps put together, made by hand for what is drawn of them."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
from made_study import LONG, study_of

from iclprobe.study.analysis import registered_analyses


def gather_study(
    groups: int = 6,
    draws: int = 8,
    measures: tuple[str, ...] = ("SimAOU", "SimAM", "accuracy, icl"),
    *,
    nulls: bool = True,
) -> Any:
    """Return a sweep over several models and numbers of shots, put together."""
    random = np.random.default_rng(0)
    names = [""] if groups == 1 else [f"model {LONG}-{n}, shots {2**n}" for n in range(groups)]
    rows, summary, paired, cells = [], [], [], []
    for place, group in enumerate(names):
        for draw in range(draws):
            cells.append({"cell": f"compare-{place}-{draw}", "state": "done", "seconds": 2.0, "error": ""})
        for measure in measures:
            unit = "%" if "accuracy" in measure else "cosine"
            values = random.normal(0.3, 0.2, draws) * (100 if unit == "%" else 1)
            null = 0.05 if nulls and "accuracy" not in measure else math.nan
            std = float(values.std(ddof=1)) if draws > 1 else math.nan
            of = {"group": group, "measure": measure, "unit": unit}
            summary.append(
                {**of, "draws": draws, "mean": values.mean(), "std": std, "null": null}
                | {"low": values.mean() - 2 * std, "high": values.mean() + 2 * std}
            )
            rows += [
                {**of, "cell": f"compare-{place}-{draw}", "draw": str(draw), "value": value, "null": null}
                | {"low": value - 0.1, "high": value + 0.1}
                for draw, value in enumerate(values)
            ]
    for one, other in combinations(range(groups), 2) if draws > 1 else []:
        for measure in measures:
            difference = random.normal(0, 0.3)
            paired.append(
                {"axis": "shots", "one": str(2**one), "other": str(2**other), "at": f"model {LONG}"}
                | {"measure": measure, "draws": draws, "difference": difference, "std": 0.1, "unit": "cosine"}
                | {"low": difference - 0.2, "high": difference + 0.2, "p": 0.01 if draws > 5 else math.nan}
            )
    axes = [{"cell": cell["cell"], "axis": "seeds", "value": "0", "place": 0} for cell in cells]
    tables = {"summary": summary, "paired": paired, "measures": rows, "cells": cells, "axes": axes}
    frames = {name: registered_analyses()["gather"].table(name).frame(rows) for name, rows in tables.items()}
    return study_of("gather", frames, {"sweep": "runs/grid"})
