"""What a sweep would compute, what each cell takes, and what is done; nothing is run and nothing written."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analyses.context import Context
from ..analyses.needed import Needed
from ..analyses.shared import Shared
from ..study.analysis import find_analysis, there
from ..study.loading import read_manifest
from ..study.sheet import Block, Cell, Sheet
from ..study.sweep_folder import CellState, SweepCell, SweepFolder
from ..text_files import in_home
from .config import SweepConfig
from .planning import cell_configuration, plan_sweep
from .progress import duration
from .sweep import read_study


@dataclass(frozen=True)
class DryRun:
    """What a sweep would do.

    Attributes:
        sweep: Its cells.
        states: How far each is, by its id.
        needed: What those that are missing take, by the id; of those of which nothing is known, nothing.
    """

    sweep: SweepFolder
    states: Mapping[str, CellState]
    needed: Mapping[str, Needed]

    def table(self) -> str:
        """Return one line a cell, and the sum of what is missing."""
        from ..reports.sheet_text import sheet_text

        cells = list({cell.id: cell for cell in self.sweep.cells}.values())
        axes = tuple(cells[0].axes)
        rows = tuple(
            (
                cell.id,
                (*((str(cell.axes[axis]),) for axis in axes), (self.states[cell.id],), *self._shown(cell.id)),
            )
            for cell in cells
        )
        block = Block("cell", (*axes, "state", "time", "memory", "disk"), rows)
        missing = [cell.id for cell in cells if self.states[cell.id] != "done"]
        return sheet_text(Sheet((), (), (), (block,), (self._sum(missing, len(cells)),)))

    def _shown(self, cell: str) -> tuple[Cell, ...]:
        needed = self.needed.get(cell)
        if needed is None:
            return ("",), ("",), ("",)
        return (duration(needed.seconds),), (_bytes(needed.memory_bytes),), (_bytes(needed.disk_bytes),)

    def _sum(self, missing: list[str], total: int) -> str:
        known = [self.needed[cell] for cell in missing if cell in self.needed]
        said = f"{total - len(missing)} of {total} cells are done"
        if not missing:
            return said
        if known:
            seconds = sum(needed.seconds for needed in known) * len(missing) / len(known)
            disk = sum(needed.disk_bytes for needed in known) * len(missing) // len(known)
            memory = max(needed.memory_bytes for needed in known)
            said += f"; the others take about {duration(seconds)} one after another, {_bytes(disk)} of disk"
            return said + (f" and at most {_bytes(memory)} of memory" if memory else "")
        return f"{said}; what the others take is known when one of them is"


def dry_run(study: str | Path | SweepConfig | None, out: str | Path, **fields: Any) -> DryRun:
    """Return what a sweep would compute and what that takes.

    One cell of each group that shares its recordings is estimated by its analysis, which loads its model for it;
    where an analysis estimates nothing, by what the sweep's finished cells took.

    Args:
        study: A YAML file or a configuration; or give the fields of `SweepConfig` as keywords.
        out: The sweep's folder.
        fields: Fields of `SweepConfig`, over those of the file.

    Raises:
        UserError: If the sweep cannot be asked for, or a cell's model or data cannot be loaded.
    """
    sweep = plan_sweep(read_study(study, fields), in_home(out).absolute())
    states = sweep.states()
    missing = [cell for cell in sweep.cells if states[cell.id] != "done"]
    return DryRun(sweep, states, _estimated(sweep, missing) or _as_before(sweep, states, missing))


def _estimated(sweep: SweepFolder, missing: list[SweepCell]) -> dict[str, Needed]:
    analysis = find_analysis(sweep.analysis)
    if analysis.estimate is None:
        return {}
    estimate, shared = there(analysis.estimate), Shared()
    known: dict[str, Needed] = {}
    found: dict[str, Needed] = {}
    for cell in missing:
        # Draws of one group take as long as each other.
        key = repr((cell.group[:2], cell.config.get("shots"), cell.config.get("recipes")))
        if key not in known:
            with warnings.catch_warnings():
                # They are said when the cells run.
                warnings.simplefilter("ignore")
                known[key] = estimate(cell_configuration(cell), Context(shared=shared))
        found[cell.id] = known[key]
    return found


def _as_before(
    sweep: SweepFolder, states: Mapping[str, CellState], missing: list[SweepCell]
) -> dict[str, Needed]:
    """Return the mean of what finished cells took, for each that is missing."""
    took = []
    for cell, state in states.items():
        if state == "done":
            manifest = read_manifest(sweep.run_directory(cell))
            took.append((float(manifest["provenance"]["seconds"] or 0), sum(manifest["files"].values())))
    if not took:
        return {}
    mean = Needed(sum(each[0] for each in took) / len(took), 0, sum(each[1] for each in took) // len(took))
    return {cell.id: mean for cell in missing}


def _bytes(count: float) -> str:
    if not count:
        return ""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
