"""Sweeps for tests: written, and compared as files and numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from iclprobe.study.sweep_folder import SweepFolder, read_sweep

SMALL = {
    "limit": 8,
    "keep_rows": 2,
    "keep_maps": 1,
    "resamples": 50,
    "learning_rate": 0.1,
    "recipes": "dai",
    "device": "cpu",
}
"""What makes a comparison small."""


def write_study(path: Path, analysis: str, axes: Mapping[str, Any], **fields: Any) -> Path:
    """Write a sweep's YAML file."""
    path.write_text(yaml.safe_dump({"analysis": analysis, "axes": dict(axes), **fields}, sort_keys=False))
    return path


def tiny_study(folder: Path, seeds: int = 6, files: int = 2, pause: float = 0.0, **fields: Any) -> Path:
    """Write a sweep of the tiny analysis and the files that its numbers are of."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [str(folder / f"numbers-{number}.txt") for number in range(files)]
    for name in names:
        if not Path(name).exists():
            Path(name).write_text(f"the numbers of {Path(name).name}")
    axes = {"file": names, "seeds": [[seed] for seed in range(seeds)]}
    return write_study(folder / "tiny.yaml", "tiny", axes, fixed={"pause": pause}, **fields)


def contents(folder: Path) -> dict[str, Any]:
    """Return everything that a sweep's folder holds by relative path, but for what tells times."""
    return {
        path.relative_to(folder).as_posix(): _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def cell_contents(sweep: SweepFolder | Path, *, without: str = r"manifest\.json|.*\.png") -> dict[str, Any]:
    """Return the files of all run directories of a sweep, by where each cell stands."""
    found = sweep if isinstance(sweep, SweepFolder) else read_sweep(sweep)
    return {
        f"{cell.name}: {name}": content
        for cell in found.cells
        for name, content in contents(found.run_directory(cell.id)).items()
        if not re.fullmatch(without, name)
    }


def computed_in(said: str) -> list[str]:
    """Return the cells that a process says it computed."""
    return [line for line in said.splitlines() if re.match(r"\[\d+/\d+\] .*: \d+\.\d s", line)]


def files_of(folder: Path) -> set[str]:
    """Return all files and folders below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def _content(path: Path) -> Any:
    if path.name == "manifest.json":
        manifest = json.loads(path.read_text())
        manifest["provenance"] = _timeless(manifest["provenance"])
        return {name: value for name, value in manifest.items() if name != "files"}
    if path.name == "hashes.json":
        return sorted(entry[-1] for entry in json.loads(path.read_text()))
    if path.parent.name == "failed":
        return _timeless(json.loads(path.read_text()))
    return path.read_bytes()


def _timeless(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in ("seconds", "date_utc")}


def assert_same(folder: Path, whole: Path) -> None:
    """Hold a sweep's folder against another one: the same files with the same numbers."""
    assert files_of(folder) == files_of(whole)
    assert contents(folder) == contents(whole)


def sentence(said: str) -> str:
    """Return the one sentence that a command ended with, of what it said on standard error."""
    lines = [line.removeprefix("iclprobe: ") for line in said.splitlines() if line.startswith("iclprobe: ")]
    assert len(lines) == 1 and "Traceback" not in said, said
    assert len(lines[0]) <= 300
    return lines[0]


def all_texts(folder: Path) -> Iterator[str]:
    """Yield the text of every small file below a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes().decode("utf-8", "replace")
