"""A sheet as text: plain, or on a terminal in its width and with colour."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from ..study.sheet import Block, Cell, Sheet

_PROSE = 40
"""How many characters wide a column of sentences is; no number is as long."""


def sheet_text(sheet: Sheet, *, width: int = 100) -> str:
    """Return a sheet as plain text, without a newline at the end.

    Args:
        sheet: What there is to read.
        width: Where lines are wrapped.
    """
    from rich.console import Console
    from rich.table import Table

    parts, written = _parts(sheet), StringIO()
    endless = Console(file=StringIO(), width=10_000)
    # Numbers that are folded cannot be read, so that a table is as wide as it has to be.
    tables = [part for part in parts if isinstance(part, Table) and part.show_header]
    needed = [endless.measure(table).maximum for table in tables]
    console = Console(file=written, width=max([width, *needed]), color_system=None, force_terminal=False)
    for part in parts:
        _print(part, console, None if part in tables else width)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()).rstrip()


def print_sheet(sheet: Sheet, console: Console) -> None:
    """Print a sheet where a console writes, in its width, and with colour where it shows any.

    Args:
        sheet: What there is to read.
        console: Where to.
    """
    for part in _parts(sheet):
        _print(part, console)


def _print(part: RenderableType, console: Console, width: int | None = None) -> None:
    console.print(part, highlight=False, markup=False, soft_wrap=False, width=width)


def _parts(sheet: Sheet) -> list[RenderableType]:
    from rich.text import Text

    parts: list[RenderableType] = [Text(alarm, style="bold red") for alarm in sheet.alarms]
    if sheet.alarms:
        parts.append(Text(""))
    if sheet.facts:
        parts.append(_grid([(Text(name, style="bold"), Text(value)) for name, value in sheet.facts]))
    parts += [Text(f"warning: {warning}", style="yellow") for warning in sheet.warnings]
    for block in sheet.blocks:
        parts += [Text(""), _table(block)]
    if sheet.notes:
        parts += [Text(""), *(Text(note, style="dim") for note in sheet.notes)]
    return parts


def _grid(rows: Sequence[tuple[Any, ...]]) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for row in rows:
        grid.add_row(*row)
    return grid


def _table(block: Block) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(Text(block.corner), overflow="fold")
    columns = [[cells[place] for _, cells in block.rows] for place in range(len(block.columns))]
    for heading, cells in zip(block.columns, columns, strict=True):
        table.add_column(Text(heading), overflow="fold", max_width=_PROSE if _is_prose(cells) else None)
    padded = [[cell[0] for cell in cells] if _is_prose(cells) else _padded(cells) for cells in columns]
    for place, (name, _) in enumerate(block.rows):
        table.add_row(Text(name), *(Text(column[place]) for column in padded))
    return table


def _is_prose(cells: Sequence[Cell]) -> bool:
    """Whether a column holds sentences, which are read in lines, rather than numbers."""
    return all(len(cell) == 1 for cell in cells) and any(len(cell[0]) > _PROSE for cell in cells)


def _padded(cells: Sequence[Cell]) -> list[str]:
    """Join the parts of each cell, aligned with those above and below: numbers right, the last part left."""
    whole = [cell for cell in cells if len(cell) > 1]
    widths = [max(len(part) for part in parts) for parts in zip(*whole, strict=True)]
    alone = max((len(cell[0]) for cell in cells), default=0) if not whole else 0
    texts = []
    for cell in cells:
        if len(cell) == 1:
            texts.append(cell[0].rjust(widths[0] if widths else alone))
            continue
        *numbers, last = [part.rjust(width) for part, width in zip(cell, widths, strict=True) if width] or [
            ""
        ]
        # The last part of all, an interval, has a ragged end instead of a ragged start.
        texts.append(" ".join([*numbers, last.strip() if widths[-1] else last]))
    return texts
