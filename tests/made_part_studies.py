"""Studies of direct and inherited parts and of implicit updates, made by hand for what is drawn of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from made_study import LONG, study_of

_MEASURES = (
    *(("share", setting, part) for setting in ("icl", "ft") for part in ("direct", "inherited")),
    *(("similarity", "both", part) for part in ("total", "direct", "inherited")),
    *(
        ("contribution", "both", part)
        for part in ("direct", "direct with inherited", "inherited with direct", "inherited")
    ),
)


def parts_study(layers: int = 6, seeds: tuple[int, ...] = (0,), recipe: str = "dai") -> Any:
    """Every measure in every layer; layer 0 inherits nothing, so there is no similarity of what it inherits."""
    random = np.random.default_rng(0)
    rows = []
    for seed in seeds:
        for layer in range(layers):
            for measure, setting, part in _MEASURES:
                value = random.uniform(-0.3, 1.2)
                if layer == 0 and measure == "similarity" and part == "inherited":
                    value = math.nan
                key = {"seed": seed, "layer": layer, "measure": measure, "setting": setting, "part": part}
                nulls = dict.fromkeys(("permuted_pairs", "shared_baseline"), value / 3)
                rows.append({**key, "value": value, "low": value - 0.1, "high": value + 0.2, **nulls})
    finetuning = [{"seed": seed, "source": recipe, "queries": 40} for seed in seeds]
    options = {"model": f"somewhere/{LONG}", "task": "sst2", "shots": 16, "seeds": seeds}
    return study_of("parts", {"layers": rows, "finetuning": finetuning}, options)


_UPDATES = (
    ("effective rank", "own"),
    *(("explained", condition) for condition in ("shared", "mean", "permuted")),
    *((f"alignment of {what}", "own") for what in ("weights", "outputs")),
)
_GIVEN = ("own", "shared", "other", "mean", "own, MLP alone", "shared, MLP alone")


def implicit_update_study(
    layers: int = 6, seeds: tuple[int, ...] = (0,), *, given: bool = True, aligned: bool = True
) -> Any:
    """Every measure in every layer; without those of what was not given, and where finetuning trained no MLP."""
    random = np.random.default_rng(0)
    kinds = [*_UPDATES, *(("closed", condition) for condition in _GIVEN if given)]
    rows = []
    for seed in seeds:
        for layer in range(layers):
            for measure, condition in kinds:
                value = random.uniform(-4, 1.2) if measure == "closed" else random.uniform(0, 1)
                if measure == "effective rank":
                    value *= 40
                if measure.startswith("alignment") and not aligned:
                    value = math.nan
                key = {"seed": seed, "layer": layer, "measure": measure, "condition": condition}
                null = 40.0 if measure == "effective rank" else value / 3
                rows.append({**key, "value": value, "low": value - 0.1, "high": value + 0.2, "null": null})
    finetuning = [{"seed": seed, "source": "dai_mlp", "queries": 40} for seed in seeds]
    options = {"model": f"somewhere/{LONG}", "task": "sst2", "shots": 16, "seeds": seeds}
    return study_of("implicit_update", {"layers": rows, "finetuning": finetuning}, options)
