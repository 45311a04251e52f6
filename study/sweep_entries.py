"""A sweep as an index of runs tells it: how far it is, and which of its cells failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ..errors import UserError
from .run_entry import RunEntry
from .sweep_folder import PLAN, read_sweep


def sweep_entries(folder: Path, name: str) -> Iterator[RunEntry]:
    """Yield the sweep in a folder, and each cell that failed; cells that are done are runs of their own.

    Args:
        folder: The sweep's folder.
        name: Its path from the folder that is listed.
    """
    try:
        sweep = read_sweep(folder)
        states = sweep.states()
        failures = [sweep.failure(cell) for cell, state in states.items() if state == "failed"]
        began = (folder / PLAN).stat().st_mtime
    except UserError as error:
        yield RunEntry(name or ".", "broken", str(error))
        return
    except OSError:
        # Taken away while it was read.
        return
    counts = Counter(states.values())
    told = [f"{counts[state]} {state}" for state in ("failed", "running", "missing") if counts[state]]
    yield RunEntry(
        name or ".",
        "sweep",
        ", ".join([f"{counts['done']} of {len(states)} cells done", *told]),
        analysis=f"sweep of {sweep.analysis}",
        date=datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
    )
    for failure in failures:
        if failure is not None:
            yield RunEntry(
                f"{name}/{sweep.place}/{failure.id}" if name else f"{sweep.place}/{failure.id}",
                "broken",
                f"failed: {failure.sentence}",
                analysis=sweep.analysis,
                model=str(failure.axes.get("model", "")),
                task=str(failure.axes.get("task", "")),
                date=failure.date_utc,
            )
