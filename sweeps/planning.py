"""From what a sweep asks for to its cells on disk: what each is called, and which stand beside each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..analyses.configuration import SubjectConfig
from ..analyses.runner import resolve
from ..analyses.shared import model_key, recording_key, zero_shot_key
from ..settings import Settings
from ..study.analysis import Analysis, find_analysis
from ..study.plain_values import plain
from ..study.sweep_folder import SweepCell, SweepFolder, is_sweep
from ..text_files import exists
from .config import SweepConfig
from .grid import GridCell, grid_cells
from .hash_file import read_hashes
from .sources import Sources, is_pattern

# Where it runs is not what it is. Elsewhere batches may be what is trained on.
_WHERE, _WHERE_OF_A_SUBJECT = {"device"}, {"device", "batch_size"}


def plan_sweep(sweep: SweepConfig, folder: Path, sources: Sources | None = None) -> SweepFolder:
    """Return the cells of a sweep, those that need the same model and the same recordings beside each other.

    Args:
        sweep: What is asked.
        folder: Where it is, or will be; nothing is written.
        sources: What was hashed already.

    Raises:
        UserError: If a cell cannot be asked for, or what it names cannot be read.
    """
    analysis = find_analysis(sweep.analysis)
    sources = sources or Sources(read_hashes(folder) if is_sweep(folder) else {})
    cells = [_planned(analysis, cell, sources) for cell in grid_cells(sweep)]
    return SweepFolder(folder, analysis.name, _beside_each_other(cells))


def cell_configuration(cell: SweepCell) -> Any:
    """Return the configuration of a planned cell.

    Raises:
        UserError: If it is no longer one.
    """
    return resolve(find_analysis(cell.analysis), None, cell.config)


def cell_id(analysis: Analysis, config: Settings, sources: Mapping[str, str]) -> str:
    """Return what a cell is called: equal for what gives equal results.

    It is made of the configuration, in which files and folders stand as their hashes, of the hashes of weights and
    records, and of the version of the analysis's numbers; not of the device and of the size of the batches in which
    a model is asked.

    Args:
        analysis: The analysis.
        config: What is asked.
        sources: The hash of each thing that it names.
    """
    where = _WHERE_OF_A_SUBJECT if isinstance(config, SubjectConfig) else _WHERE
    asked = _by_content(plain(config.model_dump(exclude=where)), sources)
    named = {name: digest for name, digest in sources.items() if not _is_place(name)}
    text = json.dumps([analysis.name, analysis.version, asked, named], sort_keys=True)
    return f"{analysis.name}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def _planned(analysis: Analysis, cell: GridCell, sources: Sources) -> SweepCell:
    hashes = sources.of(cell.config)
    asked = plain(cell.config.model_dump())
    group: tuple[str, ...] = ()
    if isinstance(cell.config, SubjectConfig):
        keys = (model_key(cell.config), zero_shot_key(cell.config), recording_key(cell.config))
        drawn = f"{keys[2]} {asked.get('shots')} {asked.get('seeds')}"
        group = tuple(hashlib.sha256(key.encode()).hexdigest()[:12] for key in (*keys[:2], drawn))
    name = cell_id(analysis, cell.config, hashes)
    return SweepCell(name, cell.axes, asked, hashes, group, analysis.name)


def _by_content(value: Any, sources: Mapping[str, str]) -> Any:
    """Return plain values in which a hash stands for the path of what it is of, and equal numbers are the same."""
    if isinstance(value, dict):
        return {name: _by_content(entry, sources) for name, entry in value.items()}
    if isinstance(value, list):
        return [_by_content(entry, sources) for entry in value]
    if isinstance(value, str) and value in sources and _is_place(value):
        return {"sha256": sources[value]}
    if isinstance(value, float) and value.is_integer():
        # A default of 50 is the 50.0 that somebody gives.
        return int(value)
    return value


def _is_place(text: str) -> bool:
    return exists(text) or is_pattern(text)


def _beside_each_other(cells: list[SweepCell]) -> tuple[SweepCell, ...]:
    """Return cells in the order of the grid, but each beside those that share most with it."""
    first: dict[tuple[str, ...], int] = {}
    for place, cell in enumerate(cells):
        for depth in range(len(cell.group) + 1):
            first.setdefault(cell.group[:depth], place)
    return tuple(
        sorted(cells, key=lambda cell: [first[cell.group[:depth]] for depth in range(len(cell.group) + 1)])
    )
