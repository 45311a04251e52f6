"""Whole commands on a real model: compare with a given rate and with the default search, and order."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .measure import interleaved, seconds_to_dict
from .options import Options

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / ".real-models" / "smollm2-135m-instruct"
DATA = ROOT.parent / "shared" / "data" / "sst2"
_ASKED = ("--model", str(MODEL), "--task", "sst2", "--data", str(DATA), "--template", "shen", "--shots", "8")
COMMANDS: dict[str, tuple[str, ...]] = {
    "compare, given rate": ("compare", *_ASKED, "--limit", "60", "--lr", "0.03"),
    "compare, default search": ("compare", *_ASKED, "--limit", "60"),
    "order, given rate": ("order", *_ASKED, "--limit", "20", "--lr", "0.03"),
}


def run(options: Options) -> dict[str, Any]:
    missing = [str(place.relative_to(ROOT.parent)) for place in (MODEL, DATA) if not place.exists()]
    if missing:
        return {"skipped": f"not here: {', '.join(missing)} (make real-models)"}
    with TemporaryDirectory() as place:
        ways = {name: partial(_command, Path(place), name, command) for name, command in COMMANDS.items()}
        times = interleaved(ways, max(1, options.pairs // 3))
    return {
        "model": MODEL.name,
        "task": "SST-2, 8 demonstrations",
        "commands": {
            name: {"options": _shown(COMMANDS[name]), "seconds": seconds_to_dict(values)}
            for name, values in times.items()
        },
    }


def _command(place: Path, name: str, command: tuple[str, ...]) -> None:
    out = place / f"{re.sub('[^a-z]+', '-', name)}{len(list(place.iterdir()))}"
    subprocess.run(
        [sys.executable, "-m", "iclprobe", *command, "--out", str(out), "--quiet"],
        check=True,
        capture_output=True,
        cwd=ROOT,
    )


def _shown(command: tuple[str, ...]) -> str:
    return " ".join(part.removeprefix(f"{ROOT}/").removeprefix(f"{ROOT.parent}/") for part in command)
