"""Cells computed on this machine: in this process, or in several beside each other."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

from ..addresses import public
from ..analyses.context import say_nothing
from ..errors import UserError, reason_of
from ..study.analysis import Analysis, find_analysis, register
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
    say: Callable[[str], None] | None,
    each: Callable[[], None] = lambda: None,
) -> None:
    """Compute cells; processes beside each other share them as strangers would, through leases.

    Args:
        sweep: The sweep, which is on disk.
        cells: Which.
        workers: Processes.
        lapse_seconds: After how long without a sign another machine's process counts as gone.
        say: Told what happens; processes beside this one tell it on standard error, if anybody is told.
        each: Called now and then, and whenever a cell was computed here.

    Raises:
        UserError: If nothing can be written there, or a process was ended from outside.
    """
    count = min(workers, len(cells))
    if count <= 1:
        tell = say or say_nothing
        sources = Sources(read_hashes(sweep.path))
        tally = Tally(sweep, tell)

        def told(cell: SweepCell, run: CellRun) -> None:
            tally(cell, run)
            each()

        Worker(sweep, lapse_seconds, sources, tell).work(cells, told)
        return
    names = [cell.id for cell in cells]
    analyses = [_sendable(find_analysis(name)) for name in sorted({cell.analysis for cell in cells})]
    with worker_pool(count) as pool:
        with deaf_to_interrupts():
            tellers = count if say else 0
            futures = [
                pool.submit(_work, sweep.path, analyses, names, tellers, lapse_seconds) for _ in range(count)
            ]
            # The pool looks again at which processes there are when more is asked of it: without this, the end of
            # the last one is noticed only when another has done everything.
            pool.submit(os.getpid)
        left = set(futures)
        while left:
            done, left = wait(left, timeout=_SECONDS_BETWEEN_LOOKS)
            for future in done:
                future.result()
            each()


def _sendable(analysis: Analysis) -> Analysis:
    """Return an analysis that other processes can be given; one's own is known to this process alone.

    Raises:
        UserError: If it holds what only this process has.
    """
    try:
        # What the pool itself does with whatever it sends.
        ForkingPickler.dumps(analysis)
    except Exception as error:
        # Whatever its parts raise; PicklingError is of a module that reads what a stranger wrote, too.
        raise UserError(
            f"the analysis {analysis.name} cannot be given to other processes ({reason_of(error, 120)}): define its "
            "functions in a module, or take one worker"
        ) from error
    return analysis


def _work(
    folder: Path, analyses: Sequence[Analysis], names: Sequence[str], processes: int, lapse_seconds: float
) -> None:
    """Compute cells in a process beside others; how many tell of it, or none if nobody is told."""

    def say(line: str) -> None:
        print(public(line), file=sys.stderr, flush=True)

    tell = say if processes else say_nothing
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    for analysis in analyses:
        register(analysis)
    sweep = read_sweep(folder)
    chosen = set(names)
    cells = [cell for cell in sweep.cells if cell.id in chosen]
    worker = Worker(sweep, lapse_seconds, Sources(read_hashes(folder)), tell)
    worker.work(cells, Tally(sweep, tell, max(1, processes)))
