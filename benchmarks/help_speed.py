"""How long the command line takes to say what it can do: whole processes, best and median of several."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

from iclprobe.study.analysis import registered_analyses

from .options import Options


def run(options: Options) -> dict[str, Any]:
    """Time `--help` of every command, one after another in several rounds.

    Args:
        options: Of which the rounds matter.
    """
    commands = [[], *([each.command] for each in registered_analyses().values())]
    seconds: dict[str, list[float]] = {" ".join(["iclprobe", *command]): [] for command in commands}
    for _ in range(max(3, options.pairs)):
        for name, command in zip(seconds, commands, strict=True):
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "iclprobe", *command, "--help"], check=True, capture_output=True
            )
            seconds[name].append(time.perf_counter() - start)
    return {
        name: {"best_s": round(min(times), 3), "median_s": round(statistics.median(times), 3)}
        for name, times in seconds.items()
    }
