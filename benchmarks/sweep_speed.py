"""What a sweep costs beside the cells' own work: 24 comparisons of the embedded model, in one process."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import iclprobe
from iclprobe.analyses.runner import run_analysis
from iclprobe.analyses.shared import Shared
from iclprobe.progress import quiet_progress
from iclprobe.study.analysis import find_analysis

from .measure import timed
from .options import Options

FIXED: dict[str, Any] = {"model": "pocket", "limit": 64, "learning_rate": 0.1, "keep_rows": 8, "keep_maps": 1}
AXES: dict[str, list[Any]] = {"shots": [2, 4, 8], "seeds": [0, 1, 2, 3], "recipe": ["dai", "barnatan_lcft"]}


def run(options: Options) -> dict[str, Any]:
    with TemporaryDirectory() as place:
        # What is imported and loaded once is neither's.
        _sweep(Path(place) / "warm", {"shots": [2]})
        sweeps, alone, unshared = [], [], []
        for pair in range(options.pairs):
            sweeps.append(timed(lambda pair=pair: _sweep(Path(place) / f"sweep{pair}", AXES)))
            alone.append(timed(lambda pair=pair: _cells(Path(place) / f"cells{pair}", Shared())))
            unshared.append(timed(lambda pair=pair: _cells(Path(place) / f"unshared{pair}", None)))
    return {
        "cells": len(_points()),
        "seconds of the sweep": round(median(sweeps), 2),
        "seconds of the cells alone, sharing as it does": round(median(alone), 2),
        "seconds of the cells alone, each by itself": round(median(unshared), 2),
        "sweep over the cells' own work": round(median(sweeps) / median(alone), 3),
        "sweep over cells by themselves": round(median(sweeps) / median(unshared), 3),
    }


def _sweep(folder: Path, axes: dict[str, list[Any]]) -> None:
    result = iclprobe.sweep(analysis="compare", fixed=FIXED, axes=axes, out=folder)
    assert not result.failures and not result.missing


def _cells(folder: Path, shared: Shared | None) -> None:
    analysis = find_analysis("compare")
    for number, (shots, seed, recipe) in enumerate(_points()):
        with quiet_progress(True):
            run_analysis(
                analysis,
                out=folder / str(number),
                page=False,
                pictures=False,
                shared=shared,
                shots=shots,
                seeds=seed,
                recipe=recipe,
                **FIXED,
            )


def _points() -> list[tuple[Any, ...]]:
    return list(product(*AXES.values()))
