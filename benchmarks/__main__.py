"""``python -m benchmarks``: run benchmarks and write what they measure into benchmarks/results/NAME.json."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import torch
import transformers

from . import (
    capture_speed,
    engine_speed,
    finetuning_speed,
    help_speed,
    memory_estimate,
    search_speed,
    sweep_speed,
    view_speed,
    weight_speed,
)

RESULTS = Path(__file__).parent / "results"
BENCHMARKS = {
    "capture": capture_speed.run,
    "engines": engine_speed.run,
    "weights": weight_speed.run,
    "finetuning": finetuning_speed.run,
    "search": search_speed.run,
    "help": help_speed.run,
    "memory": memory_estimate.run,
    "view": view_speed.run,
    "sweep": sweep_speed.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure side by side, in one run, on this machine.")
    parser.add_argument(
        "benchmarks", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all by default. Others' results stay."
    )
    parser.add_argument("--pairs", type=int, default=3, help="interleaved pairs of the slow comparisons")
    parser.add_argument("--threads", type=int, default=2, help="threads torch may use")
    parser.add_argument("--name", default="cpu", help="name of the result file")
    options = parser.parse_args()
    unknown = set(options.benchmarks) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {unknown.pop()!r}: choose of {', '.join(BENCHMARKS)}")
    torch.set_num_threads(options.threads)
    machine = {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": options.threads,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    place = RESULTS / f"{options.name}.json"
    results = json.loads(place.read_text()) if place.exists() else {}
    for name in options.benchmarks or BENCHMARKS:
        results[name] = {"machine": machine, **BENCHMARKS[name](options.pairs)}
        RESULTS.mkdir(exist_ok=True)
        place.write_text(json.dumps(results, indent=2) + "\n")
        print(json.dumps({name: results[name]}, indent=2), flush=True)


if __name__ == "__main__":
    main()
