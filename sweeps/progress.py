"""How far a sweep is, told as its cells are settled, by whichever process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from ..study.sweep_folder import SweepCell, SweepFolder
from .cell_run import CellRun


@dataclass
class Tally:
    """Tells of each cell, and counts all of them on disk.

    Attributes:
        sweep: The sweep.
        say: Told one line a cell.
        processes: How many compute at once, for the time that is left.
    """

    sweep: SweepFolder
    say: Callable[[str], None]
    processes: int = 1
    computed: int = 0
    seconds: float = 0.0
    _since: float = field(default_factory=time.monotonic)

    def __call__(self, cell: SweepCell, run: CellRun) -> None:
        """Tell of a cell that is settled now."""
        if run.outcome == "settled":
            return
        self.computed += 1
        self.seconds += run.seconds
        done, total = self.settled(), len({each.id for each in self.sweep.cells})
        what = f"{run.seconds:.1f} s" if run.outcome == "computed" else f"failed: {run.sentence}"
        left = f"; about {duration(self._left(total - done))} left" if done < total else ""
        self.say(f"[{done}/{total}] {cell.name}: {what}{left}")

    def settled(self) -> int:
        """Return how many cells are done or have failed, on disk."""
        return len(self.settled_of({cell.id for cell in self.sweep.cells}))

    def settled_of(self, ids: Collection[str]) -> list[str]:
        """Return which of some cells are done or have failed, on disk."""
        names = {
            name.removesuffix(".json")
            for folder in (self.sweep.place, "failed")
            for name in _names(self.sweep, folder)
        }
        return [name for name in ids if name in names]

    def _left(self, cells: int) -> float:
        passed = time.monotonic() - self._since
        return cells * passed / max(1, self.computed) / self.processes


def _names(sweep: SweepFolder, folder: str) -> list[str]:
    try:
        return os.listdir(sweep.path / folder)  # noqa: PTH208 - of thousands of names, only the names
    except FileNotFoundError:
        return []


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, round(seconds))} s"
