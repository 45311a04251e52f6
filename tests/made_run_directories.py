"""Run directories of every state: finished ones with made numbers, and one that another process writes."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import iclprobe

_RUN = """
import sys, time
from pathlib import Path
from iclprobe.unfinished import unfinished_place
with unfinished_place(Path(sys.argv[1])) as place:
    place.mkdir()
    print("there", flush=True)
    time.sleep(600)
"""


def write_run(folder: Path) -> None:
    """Write the run directory of a study of weights, without its pictures."""
    made = folder.parent / f"{folder.name}-whole"
    iclprobe.sparsity("pocket", layers=(0, 1)).save(made)
    shutil.move(made, folder)


def write_copies(source: Path, folder: Path, count: int) -> None:
    """Write run directories that differ in date, model and one measure; each in one of ten folders."""
    manifest = json.loads((source / "manifest.json").read_text())
    findings = (source / "findings.csv").read_text()
    value = next(csv.DictReader(findings.splitlines()))["value"]
    for number in range(count):
        place = folder / f"group{number % 10}" / f"run{number}"
        place.mkdir(parents=True)
        config = (source / "config.yaml").read_text()
        (place / "config.yaml").write_text(config.replace("model: pocket", f"model: model{number % 3}"))
        shutil.copyfile(source / "table.txt", place / "table.txt")
        told = {**manifest, "asked": {"model": f"model{number % 3}", "task": "sst2"}}
        told["provenance"] = {
            **manifest["provenance"],
            "date_utc": f"2026-01-01T{number // 60:02}:{number % 60:02}:00+00:00",
        }
        (place / "manifest.json").write_text(json.dumps(told))
        (place / "findings.csv").write_text(findings.replace(f",{value},", f",{number / 4},", 1))


@contextmanager
def being_written(target: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process write a run directory while the context lasts; it is killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", _RUN, str(target)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "there"
        yield process
    finally:
        process.kill()
        process.communicate()
