"""Every table of a sweep's cells as one, with the axes as columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...study.analysis import find_analysis
from ...study.columns import FACTS
from ...study.finding import FINDINGS
from ...study.sweep_folder import SweepCell, SweepFolder, read_sweep
from ...study.table_files import read_table, write_table

if TYPE_CHECKING:
    from pandas import DataFrame


def gathered_tables(sweep: str | Path) -> dict[str, DataFrame]:
    """Return each table of the finished cells as one data frame: the cell's id, its axes, and the table's columns.

    An axis that is called like a column of the table stands as ``axis_NAME``.

    Args:
        sweep: The sweep's folder.

    Raises:
        UserError: If there is no sweep, or the tables of a cell cannot be read.
    """
    folder = read_sweep(sweep)
    cells = done_cells(folder)
    return {name: _joined(folder, cells, name) for name in _names(folder)}


def write_kinds(folder: SweepFolder, cells: list[SweepCell], target: Path) -> None:
    """Write each table of cells as one, as Parquet and as CSV, one table in memory at a time.

    Args:
        folder: The sweep.
        cells: The cells that are done.
        target: Where they go.
    """
    target.mkdir()
    for name in _names(folder):
        write_table(target, name, _joined(folder, cells, name))


def done_cells(folder: SweepFolder) -> list[SweepCell]:
    """Return the cells of a sweep that have their result."""
    return [cell for cell in folder.cells if folder.is_done(cell.id)]


def _names(folder: SweepFolder) -> list[str]:
    return [*(table.name for table in find_analysis(folder.analysis).tables), FINDINGS.name]


def _joined(folder: SweepFolder, cells: list[SweepCell], name: str) -> DataFrame:
    import pandas

    frames = list(_frames(folder, cells, name))
    return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame()


def _frames(folder: SweepFolder, cells: list[SweepCell], name: str) -> Iterator[DataFrame]:
    table = FINDINGS if name == FINDINGS.name else find_analysis(folder.analysis).table(name)
    assert table is not FACTS
    taken = {column.name for column in table.columns}
    texts = _of_several_kinds(folder.cells)
    for cell in cells:
        frame = read_table(folder.run_directory(cell.id), table)
        added: dict[str, Any] = {_free("cell", "sweep", taken): cell.id}
        for axis, value in cell.axes.items():
            shown = str(value) if axis in texts and value is not None else value
            added[_free(axis, "axis", {*taken, *added})] = shown
        for place, (column, value) in enumerate(added.items()):
            frame.insert(place, column, value)
        yield frame


def _free(name: str, before: str, taken: Collection[str]) -> str:
    while name in taken:
        name = f"{before}_{name}"
    return name


def _of_several_kinds(cells: Iterable[SweepCell]) -> set[str]:
    """Return the axes whose values are texts beside numbers, which no column of a file holds."""
    kinds: dict[str, set[str]] = {}
    for cell in cells:
        for axis, value in cell.axes.items():
            if value is not None:
                kind = type(value).__name__
                kinds.setdefault(axis, set()).add("number" if kind in ("int", "float") else kind)
    return {axis for axis, found in kinds.items() if len(found) > 1}
