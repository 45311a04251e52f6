"""Whole commands on a real model: compare with a given rate and with the default search, and order.

What each takes, where its time goes, and where another checkout is given how long that takes in the same rounds.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .measure import interleaved, ratio_of, ratio_to_dict, seconds_to_dict
from .options import Options
from .record import commit

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / ".real-models" / "smollm2-135m-instruct"
DATA = ROOT.parent / "shared" / "data" / "sst2"
_ASKED = ("--model", str(MODEL), "--task", "sst2", "--data", str(DATA), "--template", "shen", "--shots", "8")
COMMANDS: dict[str, tuple[str, ...]] = {
    "compare, given rate": ("compare", *_ASKED, "--limit", "60", "--lr", "0.03"),
    "compare, default search": ("compare", *_ASKED, "--limit", "60"),
    "order, one arm": (
        *("order", *_ASKED, "--limit", "10", "--orders", "3", "--arms", "shen_sgd", "--batch-sizes", "1"),
        *("--epochs", "1", "--lr", "0.001", "--seeds", "0"),
    ),
}
BESIDE = ("compare, given rate", "compare, default search")
"""What is timed in another checkout, too."""


def run(options: Options) -> dict[str, Any]:
    missing = [str(place.relative_to(ROOT.parent)) for place in (MODEL, DATA) if not place.exists()]
    if missing:
        return {"skipped": f"not here: {', '.join(missing)} (make real-models)"}
    beside = None if options.beside is None else Path(options.beside).resolve()
    sides = {"here": ROOT} if beside is None else {"here": ROOT, "beside": beside}
    with TemporaryDirectory() as place:
        rooms = {side: _room(Path(place) / side, checkout) for side, checkout in sides.items()}
        ways = {
            f"{name}, {side}": partial(_command, room, name, command)
            for name, command in COMMANDS.items()
            for side, room in rooms.items()
            if side == "here" or name in BESIDE
        }
        times = interleaved(ways, options.pairs)
        parts = {name: _profile(Path(place), command) for name, command in COMMANDS.items()}
    found: dict[str, Any] = {
        "model": MODEL.name,
        "task": "SST-2, 8 demonstrations",
        "commands": {
            name: {
                "options": _shown(command),
                "seconds": seconds_to_dict(times[f"{name}, here"]),
                "share of the time": parts[name],
            }
            for name, command in COMMANDS.items()
        },
    }
    if beside is not None:
        found["beside"] = commit(beside)
        for name in BESIDE:
            ratio = ratio_of(times[f"{name}, beside"], times[f"{name}, here"])
            found["commands"][name]["beside / here"] = ratio_to_dict(ratio)
    return found


def _room(place: Path, checkout: Path) -> Path:
    """Return a folder from which ``iclprobe`` is what lies in a checkout, whatever is installed."""
    place.mkdir()
    (place / "iclprobe").symlink_to(checkout)
    return place


def _command(room: Path, name: str, command: tuple[str, ...]) -> None:
    out = room / f"{re.sub('[^a-z]+', '-', name)}{len(list(room.iterdir()))}"
    subprocess.run(
        [sys.executable, "-m", "iclprobe", *command, "--out", str(out), "--quiet"],
        check=True,
        capture_output=True,
        cwd=room,
        env={**os.environ, "PYTHONPATH": str(room)},
    )


def _profile(place: Path, command: tuple[str, ...]) -> dict[str, float]:
    """Return the share of a command's time that passes in each part of it."""
    told, out = place / "profile.json", place / f"profiled{len(list(place.iterdir()))}"
    asked = (str(told), *command, "--out", str(out), "--quiet")
    python = [sys.executable, "-m", "benchmarks.command_profile", *asked]
    subprocess.run(python, check=True, capture_output=True, cwd=ROOT)
    seconds = json.loads(told.read_text())
    whole = sum(seconds.values())
    return {part: round(value / whole, 4) for part, value in seconds.items()}


def _shown(command: tuple[str, ...]) -> str:
    return " ".join(part.removeprefix(f"{ROOT}/").removeprefix(f"{ROOT.parent}/") for part in command)
