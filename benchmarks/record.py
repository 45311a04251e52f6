"""The record of past results: results/NAME.json, which grows by one entry for each benchmark that is run.

An entry holds the date, the commit, the machine, the versions and what was measured; the latest is what pages quote.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from .options import Options

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
_PACKAGES = ("torch", "transformers", "transformer-lens", "nnsight", "numpy", "pandas", "matplotlib")

Entry = dict[str, Any]


def surroundings(options: Options) -> Entry:
    """Return when, where and with what something is about to be measured; ``result`` is still to come."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(ROOT),
        "machine": machine(),
        "versions": _versions(),
        "options": asdict(options),
    }


def append(name: str, benchmark: str, entry: Entry, results: Path = RESULTS) -> None:
    """Add an entry to what a record holds of a benchmark; earlier ones stay as they are."""
    record = read(name, results)
    record.setdefault(benchmark, []).append(entry)
    results.mkdir(exist_ok=True)
    place = results / f"{name}.json"
    unfinished = place.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(place)


def read(name: str, results: Path = RESULTS) -> dict[str, list[Entry]]:
    """Return the entries of every benchmark, oldest first."""
    place = results / f"{name}.json"
    return json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}


def machine() -> dict[str, Any]:
    """Return what this computes on."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit(root: Path) -> str:
    """Return the commit of a checkout, and whether something is changed since."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    changed = [line for line in git("status", "--porcelain").splitlines() if "benchmarks/results" not in line]
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + (" and changes" if changed else "")
