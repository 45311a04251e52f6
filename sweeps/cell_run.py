"""One cell: claimed, run, and either there whole or written down as failed."""

from __future__ import annotations

import gc
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from ..analyses.configuration import SubjectConfig
from ..analyses.runner import Told, run_analysis
from ..analyses.shared import Shared
from ..errors import UserError, lacks_memory, shown
from ..leases import Leases
from ..progress import quiet_progress
from ..settings import Settings
from ..study.analysis import Analysis, find_analysis
from ..study.finding import Finding
from ..study.run_directory import CannotWrite, told_if_unwritable
from ..study.sweep_folder import Failure, SweepCell, SweepFolder
from .planning import cell_configuration
from .sources import Sources

Outcome = Literal["computed", "failed", "settled", "held"]
"""What became of a cell: computed or failed here, settled before, or held by somebody else."""

_MOST_HALVINGS = 8


@dataclass(frozen=True)
class CellRun:
    """What became of one cell.

    Attributes:
        outcome: What happened.
        seconds: How long its own work took.
        sentence: Why it failed.
    """

    outcome: Outcome
    seconds: float = 0.0
    sentence: str = ""


def run_cell(
    sweep: SweepFolder,
    cell: SweepCell,
    leases: Leases,
    shared: Shared,
    sources: Sources,
    say: Callable[[str], None] | None = None,
) -> CellRun:
    """Compute a cell, if it is not settled and nobody else is at it.

    Args:
        sweep: Where it belongs.
        cell: Which.
        leases: Who computes what.
        shared: What cells before it have loaded and recorded.
        sources: What was hashed already.
        say: Told what its analysis says.

    Raises:
        CannotWrite: If nothing can be written there; the cell is neither done nor failed then.
    """
    if is_settled(sweep, cell):
        return CellRun("settled")
    with told_if_unwritable(sweep.path), leases.claimed(cell.id) as held:
        if not held:
            return CellRun("held")
        # Whoever held it before may have just finished it.
        if is_settled(sweep, cell):
            return CellRun("settled")
        start = time.perf_counter()
        try:
            _compute(sweep, cell, shared, sources, say)
        except CannotWrite:
            if sweep.is_done(cell.id):
                # Somebody took this process for dead and was faster: what is there is the result.
                return CellRun("settled")
            raise
        except Exception as error:
            if sweep.is_done(cell.id):
                return CellRun("settled")
            failure = _failure(cell, error)
            sweep.note_failure(failure)
            return CellRun("failed", time.perf_counter() - start, failure.sentence)
        return CellRun("computed", time.perf_counter() - start)


def is_settled(sweep: SweepFolder, cell: SweepCell) -> bool:
    """Return whether there is nothing to compute: a cell is done, or was written down as failed."""
    return sweep.is_done(cell.id) or sweep.has_failed(cell.id)


def _compute(
    sweep: SweepFolder,
    cell: SweepCell,
    shared: Shared,
    sources: Sources,
    say: Callable[[str], None] | None,
) -> None:
    analysis = find_analysis(cell.analysis)
    config = cell_configuration(cell)
    # The studies of the papers' experiments are planned by what they are told alone.
    now = sources.of(config) if cell.sources else {}
    changed = sorted(name for name, _ in set(now.items()) ^ set(cell.sources.items()))
    if changed:
        raise UserError(
            f"{shown(changed[0])} is not what it was when the sweep was planned: run the sweep again"
        )
    divisor = 1
    while not _fits(sweep, cell, analysis, config, shared, divisor, say):
        divisor *= 2
        # The error held what filled the memory.
        gc.collect()
        _empty_device_caches()
        if say is not None:
            say(f"out of memory: batches of 1/{divisor} of the size")


def _fits(
    sweep: SweepFolder,
    cell: SweepCell,
    analysis: Analysis,
    config: Any,
    shared: Shared,
    divisor: int,
    say: Callable[[str], None] | None,
) -> bool:
    """Run a cell with batches of a part of the size; return whether memory was enough."""
    # What cells share was recorded in batches of the whole size.
    chosen = shared if divisor == 1 else Shared()
    if divisor > 1:
        shared.clear()
    try:
        with quiet_progress(True), _in_smaller_batches(divisor):
            run_analysis(
                analysis,
                _with_smaller_batches(config, divisor),
                out=sweep.run_directory(cell.id),
                page=False,
                pictures=False,
                say=say,
                shared=chosen,
                told=_told(cell, analysis, divisor),
            )
        return True
    except Exception as error:
        if not lacks_memory(error) or not _can_be_halved(config, divisor):
            raise
    return False


def _can_be_halved(config: Settings, divisor: int) -> bool:
    if not isinstance(config, SubjectConfig):
        return False
    return divisor < (2**_MOST_HALVINGS if config.batch_size == "auto" else config.batch_size)


def _with_smaller_batches(config: Settings, divisor: int) -> Settings:
    if divisor == 1 or not isinstance(config, SubjectConfig) or config.batch_size == "auto":
        return config
    return config.model_copy(update={"batch_size": max(1, config.batch_size // divisor)})


def _in_smaller_batches(divisor: int) -> Any:
    if divisor == 1:
        return nullcontext()
    from ..hooks.batching import smaller_batches

    return smaller_batches(divisor)


def _empty_device_caches() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _told(cell: SweepCell, analysis: Analysis, divisor: int) -> Told:
    findings = ()
    if divisor > 1:
        sentence = f"memory ran out, so batches had 1/{divisor} of their size: roundings differ by that"
        findings = (Finding("batch size", sentence, "warning", value=divisor),)
    provenance = {
        "sweep": {
            "cell": cell.id,
            "axes": dict(cell.axes),
            "sources": dict(cell.sources),
            "version": analysis.version,
        }
    }
    return Told(findings, provenance)


def _failure(cell: SweepCell, error: Exception) -> Failure:
    if isinstance(error, UserError):
        return Failure(cell.id, cell.axes, str(error))
    if lacks_memory(error):
        return Failure(
            cell.id,
            cell.axes,
            "there is not enough memory for this, even in the smallest batches: take a smaller model, shorter "
            "prompts or a larger machine",
        )
    told = UserError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return Failure(cell.id, cell.axes, str(told), "".join(traceback.format_exception(error))[-20_000:])
