"""Cells computed by a Ray cluster: the same function, which the cluster places, through a folder that nodes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from ..errors import UserError, reason_of
from ..study.sweep_folder import Failure, SweepCell, SweepFolder, read_sweep
from .cell_run import CellRun, is_settled
from .config import Resources
from .hash_file import read_hashes
from .progress import Tally
from .sources import Sources
from .work import Worker

_MOST_DEATHS = 5
"""How often processes of one group of cells may die before what is left of it counts as failed."""


def run_on_ray(
    sweep: SweepFolder,
    cells: Sequence[SweepCell],
    resources: Resources,
    lapse_seconds: float,
    say: Callable[[str], None],
    address: str | None = None,
) -> None:
    """Compute cells on a cluster; those that share what is recorded go to one process after each other.

    A node that is lost takes its process with it: the cells that it had not finished run elsewhere, those that it had
    finished stay.

    Args:
        sweep: The sweep, in a folder that every node sees under the same path.
        cells: Which.
        resources: What one cell takes.
        lapse_seconds: After how long without a sign another machine's process counts as gone.
        say: Told what happens.
        address: The cluster's; None is what ``RAY_ADDRESS`` names, or a fresh one on this machine.

    Raises:
        UserError: If Ray is not installed or its cluster cannot be reached, or nothing can be written there.
    """
    with _cluster(address, say) as ray:
        task = ray.remote(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            memory=None if resources.memory_gb is None else int(resources.memory_gb * 1e9),
            # A process that died is begun again here, so that it is counted.
            max_retries=0,
        )(_run_group)
        tally = Tally(sweep, say)
        deaths: dict[Any, int] = {}
        groups = [list(group) for _, group in groupby(cells, key=lambda cell: cell.group)]
        running = {
            task.remote(sweep.path, [cell.id for cell in group], lapse_seconds): number
            for number, group in enumerate(groups)
        }
        while running:
            ready, _ = ray.wait(list(running), timeout=5)
            for reference in ready:
                number = running.pop(reference)
                try:
                    runs = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    # What a cell's own errors are is written down; this is the folder, or the cluster's set-up.
                    cause = error.cause if isinstance(error.cause, UserError) else error
                    raise UserError(reason_of(cause, 250)) from error
                except ray.exceptions.RayError as error:
                    deaths[number] = deaths.get(number, 0) + 1
                    left = [cell for cell in groups[number] if not is_settled(sweep, cell)]
                    if not left:
                        continue
                    say(f"a process of the cluster was lost ({type(error).__name__}): its cells run again")
                    if deaths[number] >= _MOST_DEATHS:
                        _give_up(sweep, left, reason_of(error))
                        continue
                    running[task.remote(sweep.path, [cell.id for cell in left], lapse_seconds)] = number
                    continue
                by_id = {cell.id: cell for cell in groups[number]}
                for name, run in runs:
                    tally(by_id[name], run)


def _run_group(folder: Path, names: Sequence[str], lapse_seconds: float) -> list[tuple[str, CellRun]]:
    """Compute cells in a process of the cluster; return what became of each."""
    sweep = read_sweep(folder)
    chosen = set(names)
    found: list[tuple[str, CellRun]] = []
    worker = Worker(sweep, lapse_seconds, Sources(read_hashes(folder)))
    worker.work(
        [cell for cell in sweep.cells if cell.id in chosen], lambda cell, run: found.append((cell.id, run))
    )
    return found


def _give_up(sweep: SweepFolder, left: Sequence[SweepCell], reason: str) -> None:
    """Write down that the processes of cells died again and again; one alone may be what kills them."""
    for cell in left:
        sentence = f"the process died {_MOST_DEATHS} times before it was done ({reason})"
        sweep.note_failure(Failure(cell.id, cell.axes, str(UserError(sentence))))


@contextmanager
def _cluster(address: str | None, say: Callable[[str], None]) -> Iterator[Any]:
    """Give Ray, connected to a cluster; one that was begun here ends here."""
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UserError(
            "Ray is not installed: pip install 'iclprobe[ray]', or take --runner local"
        ) from error
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level="warning", include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the Ray cluster cannot be reached ({reason_of(error)}): check its address"
        ) from error
    nodes = [node for node in ray.nodes() if node["Alive"]]
    say(f"Ray: {len(nodes)} nodes with {ray.cluster_resources().get('CPU', 0):g} cores")
    try:
        yield ray
    finally:
        ray.shutdown()
