"""Working through the cells of a sweep in one process, beside others that may do the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..analyses.shared import Shared
from ..leases import LAPSE_SECONDS, Leases
from ..study.sweep_folder import SweepCell, SweepFolder
from .cell_run import CellRun, is_settled, run_cell
from .sources import Sources

_SECONDS_BETWEEN_LOOKS = 0.3

Told = Callable[[SweepCell, CellRun], None]


@dataclass
class Worker:
    """One process that computes cells.

    Attributes:
        sweep: The sweep.
        lapse_seconds: After how long without a sign another machine's process counts as gone.
        sources: What was hashed already.
        say: Told what is waited for.
    """

    sweep: SweepFolder
    lapse_seconds: float = LAPSE_SECONDS
    sources: Sources = field(default_factory=Sources)
    say: Callable[[str], None] = print
    _shared: Shared = field(default_factory=Shared)

    def work(self, cells: Sequence[SweepCell], told: Told) -> None:
        """Compute what is missing of cells, and wait for those that others compute.

        A process stays with what it has in memory as long as it can, and then goes where nobody else is, so that each
        model is loaded by as few processes as can be.

        Args:
            cells: Which, those that share beside each other.
            told: Told of each cell that is settled, by whomever.

        Raises:
            CannotWrite: If nothing can be written there.
        """
        leases = self.sweep.leases(self.lapse_seconds)
        left = {cell.id: cell for cell in cells}
        at: tuple[str, ...] = ()
        waiting = False
        while left:
            found = self._next(tuple(left.values()), leases, at)
            if found is not None:
                cell, run = found
                if run.outcome in ("computed", "failed"):
                    # What it shares with others is in memory now.
                    at = cell.group
                waiting = False
                del left[cell.id]
                told(cell, run)
                continue
            settled = [cell for cell in left.values() if is_settled(self.sweep, cell)]
            for cell in settled:
                del left[cell.id]
                told(cell, CellRun("settled"))
            if left and not settled:
                if not waiting:
                    self.say(f"waiting for {len(left)} cells that other processes compute")
                waiting = True
                time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _next(
        self, left: Sequence[SweepCell], leases: Leases, at: tuple[str, ...]
    ) -> tuple[SweepCell, CellRun] | None:
        """Compute the cell that suits best, or find it settled; None if others hold all of them."""
        held = leases.held()
        taken = {cell.group[:1] for cell in self.sweep.cells if cell.id in held} if held else set()
        free = [cell for cell in left if cell.id not in held]
        free.sort(key=lambda cell: (-_in_common(cell.group, at), cell.group[:1] in taken))
        for cell in free:
            run = run_cell(self.sweep, cell, leases, self._shared, self.sources)
            if run.outcome != "held":
                return cell, run
        return None


def _in_common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Return how far two groups are the same, from the coarse end."""
    for depth, (mine, others) in enumerate(zip(one, other, strict=False)):
        if mine != others:
            return depth
    return min(len(one), len(other))
