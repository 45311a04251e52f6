"""All runs below a folder, told by their manifests and findings: finished, running and broken ones."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import UserError, shown
from ..text_files import in_home, read_text
from ..unfinished import Begun, begun_in
from .loading import read_manifest
from .parts import FOLDER as PARTS
from .run_directory import MANIFEST
from .run_entry import RunEntry, RunState
from .sweep_entries import sweep_entries
from .sweep_folder import PLAN

_LARGEST_FINDINGS = 20_000_000
_NUMBERS = ("value", "low", "high")


def list_runs(folder: str | Path) -> list[RunEntry]:
    """Return every run below a folder, the newest first; links are not followed, and nothing is touched.

    Studies that others are made of (``studies``) are not runs of their own.

    Args:
        folder: The folder.

    Raises:
        UserError: If there is no such folder.
    """
    top = in_home(folder)
    if not top.is_dir():
        raise UserError(
            f"there is no folder {shown(folder)}: name one that holds run directories, such as runs"
        )
    entries = list(_below(top, ""))
    return sorted(entries, key=lambda entry: (entry.date, entry.path), reverse=True)


def _below(folder: Path, name: str) -> Iterator[RunEntry]:
    try:
        with os.scandir(folder) as found:
            inside = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield RunEntry(name or ".", "broken", f"this folder cannot be read ({error.strerror or error})")
        return
    names = {entry.name for entry in inside}
    if MANIFEST in names:
        yield _told_by_manifest(folder, name or ".", "page.html" in names)
        return
    if PLAN in names:
        yield from sweep_entries(folder, name)
    if any(each.endswith(".lock") for each in names):
        yield from (_begun(entry, name) for entry in begun_in(folder))
    for entry in inside:
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".") and entry.name != PARTS:
            yield from _below(folder / entry.name, f"{name}/{entry.name}" if name else entry.name)


def _begun(begun: Begun, parent: str) -> RunEntry:
    states: dict[bool | None, RunState] = {True: "running", False: "broken", None: "unknown"}
    notes = {
        True: f"process {begun.process} writes it",
        False: "its process ended before it was whole: run it again",
        None: f"begun by process {begun.process} on {begun.machine}",
    }
    return RunEntry(
        f"{parent}/{begun.target}" if parent else begun.target,
        states[begun.running],
        notes[begun.running],
        date=datetime.fromtimestamp(begun.since, UTC).isoformat(timespec="seconds"),
    )


def _told_by_manifest(folder: Path, name: str, page: bool) -> RunEntry:
    try:
        manifest = read_manifest(folder)
        findings = _findings(folder)
    except UserError as error:
        return RunEntry(name, "broken", str(error))
    provenance = manifest["provenance"]
    seconds = provenance.get("seconds")
    return RunEntry(
        name,
        "finished",
        _axes(provenance.get("sweep")),
        analysis=manifest["analysis"],
        model=_said(manifest, "model"),
        task=_said(manifest, "task"),
        date=str(provenance.get("date_utc") or ""),
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
        page=page,
        alarms=tuple(row["sentence"] for row in findings if row["kind"] == "alarm"),
        measures=tuple(_measure(row) for row in findings if row["kind"] == "result" and row["value"]),
    )


def _axes(sweep: Any) -> str:
    """Return where a cell stands in its sweep; nothing of a run that is no cell."""
    axes = sweep.get("axes") if isinstance(sweep, dict) else None
    return ", ".join(f"{axis} {value}" for axis, value in axes.items()) if isinstance(axes, dict) else ""


def _said(manifest: dict[str, Any], name: str) -> str:
    asked = manifest.get("asked")
    return str(asked.get(name) or "") if isinstance(asked, dict) else ""


def _findings(folder: Path) -> list[dict[str, str]]:
    path = folder / "findings.csv"
    rows = list(csv.DictReader(io.StringIO(read_text(path, _LARGEST_FINDINGS), newline="")))
    wanted = {"kind", "name", "sentence", "unit", "where", *_NUMBERS}
    try:
        for row in rows:
            if not wanted <= {key for key, value in row.items() if isinstance(value, str)}:
                raise ValueError("a column is missing")
            for number in _NUMBERS:
                float(row[number] or 0)
            json.loads(row["where"]).items()
    except (ValueError, AttributeError, csv.Error) as error:
        raise UserError(f"{shown(path)} is damaged ({error}): run it again") from error
    return rows


def _measure(row: dict[str, str]) -> tuple[str, float, float | None, float | None, str]:
    where = ", ".join(f"{name} {value}" for name, value in json.loads(row["where"]).items())
    low, high = (float(row[end]) if row[end] else None for end in ("low", "high"))
    return (f"{row['name']}, {where}" if where else row["name"], float(row["value"]), low, high, row["unit"])
