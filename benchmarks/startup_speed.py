"""What ``iclprobe compare --limit 1`` takes beside the imports that it needs: whole processes, in turn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .measure import interleaved, seconds_to_dict
from .options import Options

IMPORTS = "import torch; from transformers import AutoTokenizer, LlamaForCausalLM"
"""What the embedded model is made of; loading any model of transformers imports as much."""
ROUNDS_OF_EACH_PAIR = 3


def run(options: Options) -> dict[str, Any]:
    with TemporaryDirectory() as place:
        ways: dict[str, Callable[[], object]] = {
            "imports": lambda: _python("-c", IMPORTS),
            "compare": lambda: _compare(place),
            "compare, no page": lambda: _compare(place, "--no-page"),
        }
        for way in ways.values():
            way()  # Compiles what was never imported.
        times = interleaved(ways, ROUNDS_OF_EACH_PAIR * options.pairs)
    return {
        "imports": IMPORTS,
        "command": "iclprobe compare --limit 1",
        "seconds": {name: seconds_to_dict(values) for name, values in times.items()},
        "seconds beyond the imports": {
            name: _beyond(times[name], times["imports"]) for name in ("compare", "compare, no page")
        },
    }


def _beyond(values: list[float], imports: list[float]) -> dict[str, Any]:
    beyond = [one - other for one, other in zip(values, imports, strict=True)]
    return seconds_to_dict(beyond)


def _compare(place: str, *more: str) -> None:
    out = Path(place) / f"run{len(list(Path(place).iterdir()))}"
    _python("-m", "iclprobe", "compare", "--limit", "1", "--out", str(out), *more)


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
