"""Timing of interleaved pairs, and peak memory of a procedure in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """How much longer one procedure takes than another: median and quartiles over interleaved pairs."""

    median: float
    quartiles: tuple[float, float]
    seconds: tuple[float, float]
    pairs: int


def compare_pairs(first: Callable[[], object], second: Callable[[], object], pairs: int) -> Ratio:
    """Time two procedures in turn, each first in half of the pairs, and return seconds of first / second."""
    times: list[tuple[float, float]] = []
    for pair in range(pairs):
        if pair % 2:
            late, early = timed(second), timed(first)
            times.append((early, late))
        else:
            times.append((timed(first), timed(second)))
    ratios = [one / other for one, other in times]
    low, _, high = quantiles(ratios, n=4) if pairs > 1 else (ratios[0],) * 3
    typical = (median(one for one, _ in times), median(other for _, other in times))
    return Ratio(median(ratios), (low, high), typical, pairs)


def ratio_to_dict(ratio: Ratio) -> dict[str, Any]:
    return {
        "median": round(ratio.median, 3),
        "quartiles": [round(value, 3) for value in ratio.quartiles],
        "median_seconds": [round(value, 3) for value in ratio.seconds],
        "pairs": ratio.pairs,
    }


def timed(procedure: Callable[[], object]) -> float:
    start = time.perf_counter()
    procedure()
    return time.perf_counter() - start


def peak_memory_of(procedure: str, batch_size: int, *prompts: Any) -> int:
    """Return the peak resident bytes of a fresh process that runs one of `benchmarks.procedures`.

    What the prompts are, `build_prompts` is told.
    """
    code = (
        f"from benchmarks.measure import report_peak; report_peak({procedure!r}, {batch_size}, {prompts!r})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(result.stdout.strip().splitlines()[-1])


def report_peak(procedure: str, batch_size: int, prompts: tuple[Any, ...]) -> None:
    """Run a procedure and print the peak resident bytes and nothing else after it."""
    from . import procedures
    from .material import build_model, build_prompts

    # Only eager attention returns the maps that the papers' procedure takes its rows from.
    model = build_model("eager" if procedure == "reference" else "sdpa")
    kept = getattr(procedures, procedure)(model, build_prompts(*prompts), batch_size)
    print(peak_memory())
    del kept


def peak_memory() -> int:
    """Return the peak resident bytes of this process.

    Not from `getrusage`: on Linux a child begins with the peak of the process that started it.
    """
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
