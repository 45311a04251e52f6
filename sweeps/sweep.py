"""`iclprobe.sweep`: a grid of cells, each computed once however often it is interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..analyses.context import say_nothing
from ..errors import UserError, shown
from ..leases import LAPSE_SECONDS
from ..settings import make_config
from ..study.sweep_folder import Failure, SweepCell, SweepFolder, write_sweep
from ..text_files import exists, in_home, is_folder
from ..unfinished import require_on_disk
from ..yaml_text import read_yaml
from .config import SweepConfig
from .hash_file import read_hashes, write_hashes
from .planning import plan_sweep
from .sources import Sources

Runner = Literal["local", "ray"]


@dataclass(frozen=True)
class SweepResult:
    """What a sweep has when it ends.

    Attributes:
        folder: The sweep on disk.
        computed: How many cells were computed now, here or by processes beside this one.
        kept: How many were there before.
        failures: Those that have no result, and why.
        missing: How many are left, for other shards.
        seconds: How long it took.
    """

    folder: SweepFolder
    computed: int
    kept: int
    failures: tuple[Failure, ...]
    missing: int
    seconds: float

    @property
    def cells(self) -> int:
        """How many different cells there are."""
        return len({cell.id for cell in self.folder.cells})

    def table(self) -> str:
        """Return what there is, in a few lines."""
        counts = [f"{self.computed} computed", f"{self.kept} kept"]
        counts += [f"{len(self.failures)} failed"] if self.failures else []
        counts += [f"{self.missing} missing"] if self.missing else []
        lines = [f"{self.cells} cells of {self.folder.analysis}: {', '.join(counts)}"]
        for failure in self.failures:
            where = ", ".join(f"{axis} {value}" for axis, value in failure.axes.items())
            lines.append(f"failed at {where or failure.id}: {failure.sentence}")
        return "\n".join(lines)

    def __str__(self) -> str:
        """Return what there is."""
        return self.table()


def sweep(
    study: str | Path | SweepConfig | None = None,
    *,
    out: str | Path,
    runner: Runner = "local",
    workers: int = 1,
    shard: tuple[int, int] | None = None,
    retry_failed: bool = False,
    ray_address: str | None = None,
    lapse_seconds: float = LAPSE_SECONDS,
    say: Callable[[str], None] | None = None,
    **fields: Any,
) -> SweepResult:
    """Compute every cell of a grid that is not there yet.

    A cell is there when its run directory in ``OUT/cells`` is whole. Any number of processes may be started on one
    folder, on one machine or on many that share it; each computes what nobody else is at.

    Args:
        study: A YAML file or a configuration; or give the fields of `SweepConfig` as keywords.
        out: The sweep's folder.
        runner: ``local``, or ``ray`` for a cluster.
        workers: Processes of the local runner.
        shard: ``(i, n)``: the i-th of n parts of the cells alone, counted from 1, for a job array.
        retry_failed: Try cells again that failed before.
        ray_address: The cluster's; None is what ``RAY_ADDRESS`` names, or a fresh one on this machine.
        lapse_seconds: A process of another machine that gives no sign for so long counts as gone.
        say: Told what happens.
        fields: Fields of `SweepConfig`, over those of the file.

    Raises:
        UserError: If the sweep cannot be asked for, or nothing can be written there; a cell that fails is told in
            the result, and stops no other.
    """
    start = time.perf_counter()
    tell = say or say_nothing
    config = read_study(study, fields)
    planned, sources = _plan(config, out)
    _check(runner, workers, shard)
    write_sweep(planned)
    write_hashes(planned.path, sources.files)
    cells = shard_of(planned, shard)
    if retry_failed:
        for cell in cells:
            if planned.has_failed(cell.id):
                planned.forget_failure(cell.id)
    before = {cell.id for cell in planned.cells if planned.is_done(cell.id)}
    todo = [cell for cell in cells if cell.id not in before and not planned.has_failed(cell.id)]
    tell(f"{len(cells)} cells of {planned.analysis}: {len(todo)} to compute")
    try:
        if todo and runner == "ray":
            from .on_ray import run_on_ray

            run_on_ray(planned, todo, config.resources, lapse_seconds, tell, ray_address)
        elif todo:
            from .local import run_locally

            run_locally(planned, todo, workers, lapse_seconds, say)
    finally:
        planned.tidy()
    return _result(planned, cells, before, time.perf_counter() - start)


def read_study(study: str | Path | SweepConfig | None, fields: dict[str, Any] | None = None) -> SweepConfig:
    """Return what a sweep asks for.

    Args:
        study: A YAML file, a configuration, or nothing.
        fields: Fields over those.

    Raises:
        UserError: If the file cannot be read, a key is unknown, or a value impossible.
    """
    if isinstance(study, SweepConfig):
        values, source = study.model_dump(exclude_unset=True), "sweep"
    elif study is None:
        values, source = {}, "sweep"
    else:
        values, source = read_yaml(study, "study", "analysis: compare"), shown(study)
    return make_config(SweepConfig, {**values, **(fields or {})}, source)


def shard_of(sweep: SweepFolder, shard: tuple[int, int] | None) -> list[SweepCell]:
    """Return the different cells of a sweep, or one part of them; cells of one group stand beside each other."""
    cells = list({cell.id: cell for cell in sweep.cells}.values())
    if shard is None:
        return cells
    part, parts = shard
    return cells[(part - 1) * len(cells) // parts : part * len(cells) // parts]


def _plan(config: SweepConfig, out: str | Path) -> tuple[SweepFolder, Sources]:
    require_on_disk(out)
    folder = in_home(out).absolute()
    if exists(folder) and not is_folder(folder):
        raise UserError(f"{shown(out)} is a file: choose another --out")
    sources = Sources(read_hashes(folder))
    return plan_sweep(config, folder, sources), sources


def _check(runner: str, workers: int, shard: tuple[int, int] | None) -> None:
    if runner not in ("local", "ray"):
        raise UserError(f"there is no runner {shown(runner)}: take local or ray")
    if workers < 1:
        raise UserError(f"{workers} workers compute nothing: give at least 1")
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise UserError(f"there is no part {shard[0]} of {shard[1]}: give i/n with i from 1 to n")


def _result(sweep: SweepFolder, cells: Sequence[SweepCell], before: set[str], seconds: float) -> SweepResult:
    ids = {cell.id for cell in sweep.cells}
    done = {cell for cell in ids if sweep.is_done(cell)}
    failed = {cell for cell in ids - done if sweep.has_failed(cell)}
    failures = [sweep.failure(cell.id) for cell in cells if cell.id in failed]
    return SweepResult(
        sweep,
        len(done - before),
        len(before),
        tuple(failure for failure in failures if failure is not None),
        len(ids - done - failed),
        seconds,
    )
