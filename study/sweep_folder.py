"""A sweep on disk: its plan, a run directory for each cell that is done, and why others failed.

``plan.json`` holds every cell with what is asked of it; ``cells/ID`` is its run directory, there once it is whole;
``failed/ID.json`` says why there is none; ``leases/`` says what is being computed.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError, reason_of, shown
from ..json_text import parse_json
from ..leases import LAPSE_SECONDS, Holder, Leases
from ..text_files import Unreadable, in_home, read_text
from ..unfinished import remove_leftovers_in, unfinished_place
from .run_directory import MANIFEST, told_if_unwritable

PLAN = "plan.json"
"""The file that makes a folder a sweep's."""
FORMAT = 1
CELLS = "cells"
"""The folder of the run directories, where nothing else is said."""

CellState = Literal["done", "failed", "running", "missing"]
AxisValue = str | int | float | bool | None

_LARGEST_PLAN = 1_000_000_000
_LARGEST_FAILURE = 1_000_000


@dataclass(frozen=True)
class SweepCell:
    """One cell of a sweep.

    Attributes:
        id: Cells of one id have one result; it names the run directory.
        axes: Where it stands on each axis, as people read it.
        config: What is asked, as plain values.
        sources: The hash of each file, folder and set of records that the configuration names.
        group: What it shares with others, coarse to fine: the model, and what is recorded of it.
        analysis: What it runs.
    """

    id: str
    axes: Mapping[str, AxisValue]
    config: Mapping[str, Any]
    sources: Mapping[str, str]
    group: tuple[str, ...]
    analysis: str

    @property
    def name(self) -> str:
        """Where it stands, in one line."""
        return ", ".join(f"{axis} {value}" for axis, value in self.axes.items()) or self.id


@dataclass(frozen=True)
class Failure:
    """Why a cell has no result.

    Attributes:
        id: The cell.
        axes: Where it stands.
        sentence: The error.
        traceback: Where in the code it arose, if it was not the user's; empty otherwise.
        machine: Where it was run.
        date_utc: When.
    """

    id: str
    axes: Mapping[str, AxisValue]
    sentence: str
    traceback: str = ""
    machine: str = field(default_factory=platform.node)
    date_utc: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


@dataclass(frozen=True)
class SweepFolder:
    """A sweep on disk.

    Attributes:
        path: The folder.
        analysis: What it was asked for: what every cell runs, or ``reproduce``, whose cells run several.
        cells: All cells, those that share beside each other.
        place: The folder of the cells' run directories.
    """

    path: Path
    analysis: str
    cells: tuple[SweepCell, ...]
    place: str = CELLS

    def run_directory(self, cell: str) -> Path:
        """Return where the run directory of a cell is, or will be."""
        return self.path / self.place / cell

    def leases(self, lapse_seconds: float = LAPSE_SECONDS) -> Leases:
        """Return who computes what."""
        return Leases(self.path / "leases", lapse_seconds)

    def is_done(self, cell: str) -> bool:
        """Return whether a cell has its result; its run directory took this name when it was whole."""
        return (self.run_directory(cell) / MANIFEST).is_file()

    def has_failed(self, cell: str) -> bool:
        """Return whether it is written down why a cell has no result."""
        return self._failed(cell).is_file()

    def failure(self, cell: str) -> Failure | None:
        """Return why a cell has no result, if it was tried.

        Raises:
            UserError: If what is said of it cannot be read.
        """
        path = self._failed(cell)
        if not path.is_file():
            return None
        try:
            return Failure(**parse_json(read_text(path, _LARGEST_FAILURE)))
        except (Unreadable, TypeError) as error:
            raise UserError(f"{shown(path)} cannot be read: remove it, and run the sweep again") from error

    def note_failure(self, failure: Failure) -> None:
        """Write down why a cell has no result."""
        _write(self._failed(failure.id), asdict(failure))

    def forget_failure(self, cell: str) -> None:
        """Let a cell be tried again."""
        with told_if_unwritable(self.path):
            self._failed(cell).unlink(missing_ok=True)

    def states(self) -> dict[str, CellState]:
        """Return how far each cell is, by its id, as far as is known from here."""
        held = self.held()
        return {
            cell.id: "done"
            if self.is_done(cell.id)
            else "running"
            if cell.id in held
            else "failed"
            if self.has_failed(cell.id)
            else "missing"
            for cell in self.cells
        }

    def held(self) -> dict[str, Holder | None]:
        """Return which cells are being computed, and by whom."""
        return self.leases().held()

    def tidy(self) -> None:
        """Remove what killed processes left: what they had begun, and leases of cells that are settled.

        Raises:
            UserError: If it cannot be removed.
        """
        with told_if_unwritable(self.path):
            for folder in (self.path, self.path / "cells", self.path / "failed"):
                remove_leftovers_in(folder)
            leases = self.leases()
            held = leases.held()
            for name in leases.names():
                # What is done is done, whoever still thinks he does it; what has failed may be tried again just now.
                if self.is_done(name) or (name not in held and self.has_failed(name)):
                    leases.remove(name)

    def _failed(self, cell: str) -> Path:
        return self.path / "failed" / f"{cell}.json"


def is_sweep(folder: str | Path) -> bool:
    """Return whether a folder is a sweep's."""
    return (Path(folder) / PLAN).is_file()


def write_sweep(sweep: SweepFolder) -> None:
    """Write a sweep's plan and the folders for its results; one that says the same already is not touched.

    Raises:
        UserError: If it cannot be written there, or the folder holds a sweep of another analysis.
    """
    content = {
        "made_by": "iclprobe",
        "format": FORMAT,
        "analysis": sweep.analysis,
        "place": sweep.place,
        "cells": [asdict(cell) for cell in sweep.cells],
    }
    earlier = read_sweep(sweep.path) if is_sweep(sweep.path) else None
    if earlier is not None and earlier.analysis != sweep.analysis:
        raise UserError(
            f"{shown(sweep.path)} holds a sweep of {shown(earlier.analysis)}, not of {sweep.analysis}: choose "
            "another --out"
        )
    with told_if_unwritable(sweep.path):
        # A copy of a sweep may lack those that were empty.
        for name in (sweep.place, "failed", "leases"):
            (sweep.path / name).mkdir(parents=True, exist_ok=True)
    if earlier is None or earlier.cells != sweep.cells:
        _write(sweep.path / PLAN, content)


def read_sweep(folder: str | Path) -> SweepFolder:
    """Read a sweep's plan.

    Raises:
        UserError: If there is none, or it is damaged or of another format.
    """
    top = in_home(folder)
    path = top / PLAN
    if not path.is_file():
        raise UserError(f"{shown(folder)} is no sweep (it has no {PLAN}): give the folder that --out named")
    try:
        said = parse_json(read_text(path, _LARGEST_PLAN))
        if said["format"] != FORMAT:
            raise UserError(
                f"{shown(path)} is in format {shown(said['format'])} and not {FORMAT}: choose another --out"
            )
        cells = tuple(
            SweepCell(
                str(cell["id"]),
                dict(cell["axes"]),
                dict(cell["config"]),
                dict(cell["sources"]),
                tuple(cell["group"]),
                str(cell["analysis"]),
            )
            for cell in said["cells"]
        )
        place = str(said["place"])
        if not all(_names_a_file(name) for name in (place, *(cell.id for cell in cells))):
            raise ValueError("an id names no folder of its own")
        return SweepFolder(top, str(said["analysis"]), cells, place)
    except UserError:
        raise
    except (Unreadable, TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"{shown(path)} is damaged ({reason_of(error)}): remove it, and run the sweep again"
        ) from error


def _names_a_file(text: str) -> bool:
    return Path(text).name == text not in ("", "..") and "\0" not in text


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that is there whole or not at all."""
    with told_if_unwritable(path), unfinished_place(path) as place:
        with place.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        place.replace(path)
