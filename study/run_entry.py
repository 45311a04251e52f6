"""One run, as an index of runs tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RunState = Literal["finished", "running", "broken", "unknown", "sweep"]


@dataclass(frozen=True)
class RunEntry:
    """One run below a folder.

    Attributes:
        path: Where it lies, from the folder, with forward slashes.
        state: ``unknown`` is one that was begun on another machine; ``sweep`` is no run, but a folder of cells.
        note: Why it is not finished; of a sweep, how far it is; of a cell, where it stands.
        analysis: What was run.
        model: On which model.
        task: On which task.
        date: When it ended, or began if it has not, ISO 8601 in UTC.
        seconds: How long it took.
        page: Whether it has a page.
        alarms: What must be read before its numbers.
        measures: Each number that was found, by what it is and of which part: value, low, high and unit.
    """

    path: str
    state: RunState
    note: str = ""
    analysis: str = ""
    model: str = ""
    task: str = ""
    date: str = ""
    seconds: float | None = None
    page: bool = False
    alarms: tuple[str, ...] = ()
    measures: tuple[tuple[str, float, float | None, float | None, str], ...] = ()
