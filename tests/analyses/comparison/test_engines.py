"""A comparison says the same whatever engine records it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from shared_material import real_model

import iclprobe
from iclprobe.study.study import Study

SETTINGS: dict[str, Any] = {"device": "cpu", "dtype": "float32", "limit": 6, "resamples": 50, "seeds": (0,)}
CLOSE = 1e-4


def assert_same_tables(want: Study, got: Study) -> None:
    """Every number of every table is the same to 1e-4, and everything else is the same."""
    assert list(want.tables) == list(got.tables)
    for name, table in want.tables.items():
        other = got.tables[name]
        assert list(table.columns) == list(other.columns) and len(table) == len(other), name
        for column in table.columns:
            if table[column].dtype.kind == "f":
                difference = (table[column] - other[column]).abs() / table[column].abs().clip(lower=1.0)
                assert table[column].isna().equals(other[column].isna()), (name, column)
                assert difference.max() <= CLOSE or difference.isna().all(), (name, column, difference.max())
            else:
                assert table[column].equals(other[column]), (name, column)


@functools.cache
def _native(**settings: Any) -> Study:
    return _compare("native", **settings)


def _compare(engine: str, out: Path | None = None, **settings: Any) -> Study:
    return iclprobe.compare(engine=engine, out=out, **{**SETTINGS, **settings})


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["transformer-lens", "nnsight"])
def test_the_embedded_model_is_compared_with_the_same_result(engine: str, tmp_path: Path) -> None:
    settings = {"model": "pocket", "shots": 4}
    want, got = _native(**settings), _compare(engine, tmp_path / "run", **settings)
    assert_same_tables(want, got)
    assert got.config.engine == engine and iclprobe.load_study(tmp_path / "run").config.engine == engine


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("engine", ["transformer-lens", "nnsight"])
def test_a_real_model_is_compared_with_the_same_result(engine: str) -> None:
    settings = {
        "model": str(real_model("smollm2-135m-instruct")),
        "shots": 2,
        "limit": 3,
        "learning_rate": 0.01,
    }
    assert_same_tables(_native(**settings), _compare(engine, **settings))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["transformer-lens", "nnsight"])
def test_attention_is_measured_with_the_same_result(engine: str) -> None:
    options = {"model": "pocket", "shots": 3, "limit": 5, "device": "cpu", "resamples": 20}
    want = iclprobe.attention(**options)
    assert_same_tables(want, iclprobe.attention(**options, engine=engine))
