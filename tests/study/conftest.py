"""Runs that every test of this folder may look at: each analysis runs once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# importlib mode has no folder of its own on the path.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of an experiment, by which claims are judged."""
    import iclprobe

    folder = tmp_path_factory.mktemp("experiments")
    iclprobe.reproduce("shen2024", "fig10", overrides={"stable_rank": False}, out=folder / "shen2024-fig10")
    return folder


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep that is put together."""
    import iclprobe

    folder = tmp_path_factory.mktemp("sweep")
    axes = {"shots": [2, 4], "seeds": [0, 1]}
    fixed = {"learning_rate": 0.1, "device": "cpu"}
    iclprobe.sweep(analysis="gradients", axes=axes, fixed=fixed, out=folder)
    return folder


@pytest.fixture(scope="session")
def run(
    tmp_path_factory: pytest.TempPathFactory, experiments: Path, swept: Path
) -> Callable[[str], tuple[Any, Path]]:
    """What runs an analysis from Python and saves it, when it is first asked for."""
    import iclprobe
    from iclprobe.study.analysis import registered_analyses

    small: Any = importlib.import_module("small_runs")

    @cache
    def of(name: str) -> tuple[Any, Path]:
        line = small.SMALL[name].format(experiments=experiments, sweep=swept)
        folder = tmp_path_factory.mktemp(name) / "run"
        study = iclprobe.run_analysis(registered_analyses()[name], small.config_of(name, line))
        study.save(folder)
        return study, folder

    return of
