"""Cells computed on this machine: in this process, or in several beside each other."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from pathlib import Path

from ..study.sweep_folder import SweepCell, SweepFolder, read_sweep
from ..worker_processes import deaf_to_interrupts, worker_pool
from .cell_run import CellRun
from .hash_file import read_hashes
from .progress import Tally
from .sources import Sources
from .work import Worker

_SECONDS_BETWEEN_LOOKS = 1.0


def run_locally(
    sweep: SweepFolder,
    cells: Sequence[SweepCell],
    workers: int,
    lapse_seconds: float,
    say: Callable[[str], None],
    each: Callable[[], None] = lambda: None,
) -> None:
    """Compute cells; processes beside each other share them as strangers would, through leases.

    Args:
        sweep: The sweep, which is on disk.
        cells: Which.
        workers: Processes.
        lapse_seconds: After how long without a sign another machine's process counts as gone.
        say: Told what happens.
        each: Called now and then, and whenever a cell was computed here.

    Raises:
        UserError: If nothing can be written there, or a process was ended from outside.
    """
    count = min(workers, len(cells))
    if count <= 1:
        sources = Sources(read_hashes(sweep.path))
        tally = Tally(sweep, say)

        def told(cell: SweepCell, run: CellRun) -> None:
            tally(cell, run)
            each()

        Worker(sweep, lapse_seconds, sources, say).work(cells, told)
        return
    names = [cell.id for cell in cells]
    with worker_pool(count) as pool:
        with deaf_to_interrupts():
            futures = [pool.submit(_work, sweep.path, names, count, lapse_seconds) for _ in range(count)]
        left = set(futures)
        while left:
            done, left = wait(left, timeout=_SECONDS_BETWEEN_LOOKS)
            for future in done:
                future.result()
            each()


def _work(folder: Path, names: Sequence[str], processes: int, lapse_seconds: float) -> None:
    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    sweep = read_sweep(folder)
    chosen = set(names)
    cells = [cell for cell in sweep.cells if cell.id in chosen]
    worker = Worker(sweep, lapse_seconds, Sources(read_hashes(folder)), say)
    worker.work(cells, Tally(sweep, say, processes))
