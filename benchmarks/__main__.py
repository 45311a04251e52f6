"""``python -m benchmarks``: run benchmarks and add what they measure to the record, benchmarks/results/NAME.json."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

from . import record, table
from .options import Options
from .shapes import TINY, USUAL

BENCHMARKS = {
    "capture": "capture_speed",
    "profile": "profile_capture",
    "grid": "grid_speed",
    "startup": "startup_speed",
    "end-to-end": "end_to_end",
    "weights": "weight_speed",
    "finetuning": "finetuning_speed",
    "search": "search_speed",
    "memory": "memory_estimate",
    "help": "help_speed",
    "view": "view_speed",
    "sweep": "sweep_speed",
}
SPEED = ("capture", "profile", "grid", "startup", "end-to-end", "memory")
"""What the pages quote."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure side by side, in one run, on this machine.")
    parser.add_argument(
        "benchmarks",
        nargs="*",
        help=f"of {', '.join(BENCHMARKS)}, or speed ({', '.join(SPEED)}), or all; speed by default",
    )
    parser.add_argument("--pairs", type=int, default=3, help="interleaved rounds of the slow comparisons")
    parser.add_argument("--queries", type=int, default=500, help="queries at the usual shape")
    parser.add_argument("--threads", type=int, default=2, help="threads torch may use")
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument("--tiny", action="store_true", help="shapes of seconds, to see that everything runs")
    parser.add_argument(
        "--beside", help="another checkout, whose whole commands are timed in the same rounds"
    )
    parser.add_argument("--name", help="name of the record; pages quote cpu [default: cpu, or tiny]")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Commands are timed as installed ones run: what was compiled stays compiled.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    shape = TINY if options.tiny else USUAL.asking(options.queries)
    told = Options(options.pairs, shape, not options.no_memory, options.beside)
    name = options.name or ("tiny" if options.tiny else "cpu")
    for benchmark in _asked(parser, options.benchmarks):
        start = time.perf_counter()
        entry = record.surroundings(told)
        entry["result"] = _benchmark(benchmark)(told)
        entry["took_seconds"] = round(time.perf_counter() - start)
        record.append(name, benchmark, entry)
        print(f"{benchmark}: {entry['took_seconds']} s", flush=True)
        print(table.text_of(benchmark, entry), flush=True)
    if name == "cpu":
        table.write_pages()


def _asked(parser: argparse.ArgumentParser, names: list[str]) -> list[str]:
    groups = {"speed": SPEED, "all": tuple(BENCHMARKS)}
    found = dict.fromkeys(each for name in names or ["speed"] for each in groups.get(name, (name,)))
    unknown = [name for name in found if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}: choose of {', '.join(BENCHMARKS)}, speed, all")
    return list(found)


def _benchmark(name: str) -> Callable[[Options], dict[str, Any]]:
    return import_module(f"benchmarks.{BENCHMARKS[name]}").run


if __name__ == "__main__":
    main()
