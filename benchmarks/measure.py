"""Timing of interleaved procedures, and peak memory of a procedure in a process of its own."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

from .shapes import Shape


@dataclass(frozen=True)
class Ratio:
    """How much longer one procedure takes than another: median and quartiles over interleaved pairs."""

    median: float
    quartiles: tuple[float, float]
    seconds: tuple[float, float]
    pairs: int


def compare_pairs(first: Callable[[], object], second: Callable[[], object], pairs: int) -> Ratio:
    """Time two procedures in turn, each first in half of the pairs, and return seconds of first / second."""
    times = interleaved({"first": first, "second": second}, pairs)
    return ratio_of(times["first"], times["second"])


def interleaved(procedures: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time each procedure once a round, every other round in the opposite order; return the seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in procedures}
    for number in range(rounds):
        for name in reversed([*procedures]) if number % 2 else procedures:
            times[name].append(timed(procedures[name]))
    return times


def ratio_of(first: list[float], second: list[float]) -> Ratio:
    """Return how the seconds of two procedures compare, round by round."""
    ratios = [one / other for one, other in zip(first, second, strict=True)]
    return Ratio(median(ratios), quartiles(ratios), (median(first), median(second)), len(ratios))


def quartiles(values: list[float]) -> tuple[float, float]:
    """Return the lower and the upper quartile, of one value itself; they lie within what was measured."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def ratio_to_dict(ratio: Ratio) -> dict[str, Any]:
    return {
        "median": round(ratio.median, 3),
        "quartiles": [round(value, 3) for value in ratio.quartiles],
        "median_seconds": [round(value, 4) for value in ratio.seconds],
        "pairs": ratio.pairs,
    }


def seconds_to_dict(seconds: list[float]) -> dict[str, Any]:
    return {
        "median": round(median(seconds), 4),
        "quartiles": [round(value, 4) for value in quartiles(seconds)],
        "runs": len(seconds),
    }


def timed(procedure: Callable[[], object]) -> float:
    start = time.perf_counter()
    procedure()
    return time.perf_counter() - start


def peak_memory_of(asked: Mapping[str, Shape]) -> dict[str, int]:
    """Return the peak resident bytes of `benchmarks.procedures`, by name, each in a process of its own.

    Processes are forked from one that has imported the libraries and computed nothing.
    """
    shapes = {name: asdict(shape) for name, shape in asked.items()}
    code = f"from benchmarks.measure import report_peaks; report_peaks({shapes!r}, {torch.get_num_threads()})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = result.stdout.splitlines()[-len(shapes) :]
    return dict(zip(shapes, map(int, lines), strict=True))


def report_peaks(shapes: Mapping[str, dict[str, int]], threads: int) -> None:
    """Run each procedure in a forked process and print its peak resident bytes, a line each."""
    from transformers import LlamaForCausalLM  # noqa: F401

    from . import procedures  # noqa: F401

    for name, shape in shapes.items():
        run_forked(_report_peak, name, shape, threads)


def run_forked(work: Callable[..., None], *arguments: Any) -> None:
    """Do work in a process forked from this one, which has its own peak and finds imported what is imported here.

    Raises:
        RuntimeError: If it fails.
    """
    child = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"{work.__name__} of {arguments[0]} ended with exit code {child.exitcode}")


def _report_peak(procedure: str, shape: dict[str, int], threads: int) -> None:
    from .material import build_model, build_prompts
    from .procedures import PROCEDURES

    torch.set_num_threads(threads)
    asked, chosen = Shape(**shape), PROCEDURES[procedure]
    kept = chosen.run(build_model(asked, chosen.attention), build_prompts(asked), asked.batch)
    print(peak_memory(), flush=True)
    del kept


def peak_memory() -> int:
    """Return the peak resident bytes of this process.

    Not from `getrusage`: on Linux a child begins with the peak of the process that started it.
    """
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
