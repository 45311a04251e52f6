"""What is foreseen of memory is what a process takes, as far as shapes tell."""

from __future__ import annotations

import sys

import pytest

from benchmarks.memory_estimate import RUNS, SHAPES, measure

_SMALLER = {"hidden_size": 1024, "vocab_size": 30_000}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("family", SHAPES)
def test_the_peak_is_foreseen_within_a_fifth(family: str) -> None:
    found = measure(family, RUNS, 2, {**SHAPES[family], **_SMALLER})
    assert set(found) == set(RUNS)
    for name, numbers in found.items():
        assert 1 / 1.2 <= numbers["foreseen_by_peak"] <= 1.2, (name, numbers)
