"""Cells computed on this machine: in this process, or in several beside each other."""

from __future__ import annotations

import pickle
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from pathlib import Path

from ..addresses import public
from ..errors import UserError, reason_of
from ..study.analysis import Analysis, find_analysis, register
from ..study.sweep_folder import SweepCell, SweepFolder, read_sweep
from ..worker_processes import deaf_to_interrupts, worker_pool
from .hash_file import read_hashes
from .progress import Tally
from .sources import Sources
from .work import Worker


def run_locally(
    sweep: SweepFolder,
    cells: Sequence[SweepCell],
    workers: int,
    lapse_seconds: float,
    say: Callable[[str], None] | None,
) -> None:
    """Compute cells; processes beside each other share them as strangers would, through leases.

    Args:
        sweep: The sweep, which is on disk.
        cells: Which.
        workers: Processes.
        lapse_seconds: After how long without a sign another machine's process counts as gone.
        say: Told what happens; processes beside this one tell it on standard error, if anybody is told.

    Raises:
        UserError: If nothing can be written there, or a process was ended from outside.
    """
    count = min(workers, len(cells))
    if count <= 1:
        tell = say or _say_nothing
        sources = Sources(read_hashes(sweep.path))
        Worker(sweep, lapse_seconds, sources, tell).work(cells, Tally(sweep, tell))
        return
    names = [cell.id for cell in cells]
    analysis = _sendable(find_analysis(sweep.analysis))
    with worker_pool(count) as pool:
        with deaf_to_interrupts():
            told = count if say else 0
            futures = [
                pool.submit(_work, sweep.path, analysis, names, told, lapse_seconds) for _ in range(count)
            ]
        for future in as_completed(futures):
            future.result()


def _sendable(analysis: Analysis) -> Analysis:
    """Return an analysis that other processes can be given; one's own is known to this process alone.

    Raises:
        UserError: If it holds what only this process has.
    """
    try:
        pickle.dumps(analysis)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"the analysis {analysis.name} cannot be given to other processes ({reason_of(error, 120)}): define its "
            "functions in a module, or take one worker"
        ) from error
    return analysis


def _say_nothing(line: str) -> None:
    """Hear a line, and leave it at that."""


def _work(
    folder: Path, analysis: Analysis, names: Sequence[str], processes: int, lapse_seconds: float
) -> None:
    """Compute cells in a process beside others; how many tell of it, or none if nobody is told."""

    def say(line: str) -> None:
        print(public(line), file=sys.stderr, flush=True)

    tell = say if processes else _say_nothing
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    register(analysis)
    sweep = read_sweep(folder)
    chosen = set(names)
    cells = [cell for cell in sweep.cells if cell.id in chosen]
    worker = Worker(sweep, lapse_seconds, Sources(read_hashes(folder)), tell)
    worker.work(cells, Tally(sweep, tell, max(1, processes)))
