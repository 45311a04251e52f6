"""Cells computed by a Ray cluster: the same function, which the cluster places, through a folder that nodes share."""

from __future__ import annotations

import math
import platform
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from ..errors import UserError, reason_of, shown
from ..study.analysis import Analysis, find_analysis, register, registered_analyses
from ..study.loading import read_manifest
from ..study.sweep_folder import Failure, SweepCell, SweepFolder, is_sweep, read_sweep
from .cell_run import CellRun, is_settled
from .config import Resources
from .hash_file import read_hashes
from .progress import Tally
from .ray_cluster import amounts, places_on, ray_cluster, taken
from .sources import Sources
from .work import Worker

_MOST_DEATHS = 5
"""How often a process may die at one cell before that counts as failed."""
_MOST_PARTS = 1000
"""Parts that the cluster is given at once."""
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_UNTIL_STALLED = 60.0


@dataclass(frozen=True)
class _Part:
    """Cells for one process, those that share beside each other, and how often one died at them."""

    cells: tuple[SweepCell, ...]
    deaths: int = 0


def run_on_ray(
    sweep: SweepFolder,
    cells: Sequence[SweepCell],
    resources: Resources,
    lapse_seconds: float,
    say: Callable[[str], None],
    address: str | None = None,
) -> None:
    """Compute cells on a cluster; those that share what is recorded go to as few processes as keep it busy.

    A node that is lost takes its processes with it: the cells that they had not finished run elsewhere, those that
    they had finished stay.

    Args:
        sweep: The sweep, in a folder that every node sees under the same path.
        cells: Which.
        resources: What one cell takes.
        lapse_seconds: After how long without a sign another machine's process counts as gone.
        say: Told what happens.
        address: The cluster's (see `ray_cluster`).

    Raises:
        UserError: If Ray is not installed or its cluster cannot be reached, no node of it could ever run a cell, or
            nothing can be written there.
    """
    analysis = find_analysis(sweep.analysis)
    with ray_cluster(address, say) as ray:
        places = places_on(ray, resources, say)
        compute = _remote(ray, resources)
        waiting = deque(_parts(cells, places))
        running: dict[Any, _Part] = {}
        left = {cell.id: cell for cell in cells}
        news = _News(sweep, left, amounts(taken(resources)), say, Tally(sweep, say))
        try:
            while waiting or running:
                while waiting and len(running) < _MOST_PARTS:
                    part = waiting.popleft()
                    names = [cell.id for cell in part.cells]
                    running[compute.remote(analysis, sweep.path, names, lapse_seconds)] = part
                ready, _ = ray.wait(list(running), timeout=_SECONDS_BETWEEN_LOOKS)
                for reference in ready:
                    waiting.extend(_ended(ray, reference, running.pop(reference), sweep, news))
                news.tell_if_due(cell.id for part in running.values() for cell in part.cells)
            news.tell()
        finally:
            # Ctrl-C, or an error: nobody waits for these.
            for reference in running:
                ray.cancel(reference, force=True)


def _remote(ray: Any, resources: Resources) -> Any:
    try:
        return ray.remote(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            memory=taken(resources).get("memory"),
            # A process that died is begun again here, so that it is counted.
            max_retries=0,
        )(_compute)
    except ValueError as error:
        raise UserError(f"Ray takes no such resources: {reason_of(error)}") from error


def _parts(cells: Iterable[SweepCell], places: int) -> list[_Part]:
    """Return cells in parts of one group each, and groups in as many parts as fill the places that there are."""
    groups = [tuple(group) for _, group in groupby(cells, key=lambda cell: cell.group or cell.id)]
    each = math.ceil(max(1, places) / max(1, len(groups)))
    parts = []
    for group in groups:
        size = math.ceil(len(group) / each)
        parts += [_Part(group[start : start + size]) for start in range(0, len(group), size)]
    return parts


def _compute(analysis: Analysis, folder: Path, names: Sequence[str], lapse_seconds: float) -> list[str]:
    """Compute cells in a process of the cluster; return what it warned of."""
    if not is_sweep(folder):
        raise UserError(
            f"{shown(folder)} is not there on {platform.node()}: choose an --out that every node of the cluster "
            "sees under the same path"
        )
    if analysis.name not in registered_analyses():
        register(analysis)
    sweep = read_sweep(folder)
    chosen = set(names)
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: said.append(f"warning: {message}")
        worker = Worker(sweep, lapse_seconds, Sources(read_hashes(folder)), _say_nothing)
        worker.work([cell for cell in sweep.cells if cell.id in chosen], _say_nothing)
    return said


def _say_nothing(*_: Any) -> None:
    """Leave telling to who watches the folder."""


def _ended(ray: Any, reference: Any, part: _Part, sweep: SweepFolder, news: _News) -> list[_Part]:
    """Return what is to be run again of a part whose process ended.

    Raises:
        UserError: If it did not die, but could not work: for want of the folder, or of what is installed there.
    """
    lost = ray.exceptions
    try:
        for line in ray.get(reference):
            news.warn(line)
        return []
    except lost.RayTaskError as error:
        # A cell's own errors are written down.
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from error
        cause = f"{type(error.cause).__name__}: {reason_of(error.cause)}"
        raise UserError(f"a process of the Ray cluster cannot work ({cause})") from error
    except (
        lost.WorkerCrashedError,
        lost.NodeDiedError,
        lost.OutOfMemoryError,
        lost.ObjectLostError,
    ) as error:
        left = [cell for cell in part.cells if not is_settled(sweep, cell)]
        if not left:
            return []
        # Cells of a part run one after another: the first that is not settled is where it died. Alone from now on,
        # it takes no other with it.
        suspect, others = left[0], left[1:]
        deaths = part.deaths + 1
        name = type(error).__name__
        if deaths >= _MOST_DEATHS:
            sentence = f"processes died {deaths} times at it (the last by {name}: {reason_of(error)})"
            sweep.note_failure(Failure(suspect.id, suspect.axes, str(UserError(sentence))))
            return []
        news.say(f"a process of the cluster was lost at {suspect.name} ({name}): that runs again, by itself")
        return [_Part((suspect,), deaths), *([_Part(tuple(others))] if others else [])]
    except lost.RayError as error:
        raise UserError(f"the Ray cluster failed: {reason_of(error)}") from error


@dataclass
class _News:
    """Tells of cells as they are settled on disk, by whichever process, and of a standstill.

    Attributes:
        sweep: The sweep.
        left: Cells of which nothing was told yet, by their id.
        takes: What each takes, as people say it.
        say: Told.
        tally: Tells of one.
    """

    sweep: SweepFolder
    left: dict[str, SweepCell]
    takes: str
    say: Callable[[str], None]
    tally: Tally
    _warned: set[str] = field(default_factory=set)
    _sign: float = field(default_factory=time.monotonic)
    _looked: float = field(default_factory=time.monotonic)
    _told_standstill: bool = False

    def warn(self, line: str) -> None:
        """Pass on a warning, once."""
        if line not in self._warned:
            self._warned.add(line)
            self.say(line)

    def tell(self) -> None:
        """Tell what is settled."""
        for name in self.tally.settled_of(self.left):
            self.tally(self.left.pop(name), _run_on_disk(self.sweep, name))
            self._sign = time.monotonic()

    def tell_if_due(self, given: Iterable[str]) -> None:
        """Tell what is settled, not more often than now and then; or that nothing begins.

        Args:
            given: The cells that the cluster was given and has not ended.
        """
        if time.monotonic() - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        self.tell()
        self._looked = time.monotonic()
        if time.monotonic() - self._sign < _SECONDS_UNTIL_STALLED:
            return
        self._sign = time.monotonic()
        begun = not self.sweep.held().keys().isdisjoint(given)
        if not begun and not self._told_standstill:
            self.say(
                f"no cell has begun: each waits for a node of the cluster that has {self.takes} to spare"
            )
        self._told_standstill = not begun


def _run_on_disk(sweep: SweepFolder, cell: str) -> CellRun:
    """Return what became of a settled cell, as its files tell."""
    if sweep.is_done(cell):
        return CellRun(
            "computed", float(read_manifest(sweep.run_directory(cell))["provenance"]["seconds"] or 0)
        )
    failure = sweep.failure(cell)
    return CellRun("failed", sentence="" if failure is None else failure.sentence)
