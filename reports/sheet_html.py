"""A sheet as HTML for a notebook: every text is escaped, and a long sheet is cut to what a page can hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..study.sheet import Block, Sheet

MOST_BYTES = 4800
"""Of what a notebook keeps in its file for each display."""


def sheet_html(sheet: Sheet, *, at_most: int = MOST_BYTES) -> str:
    """Return what a sheet says as HTML; what goes beyond a size is left out, and said.

    Args:
        sheet: What there is to read.
        at_most: Bytes.
    """
    made = '<div class="iclprobe">'
    for part in _parts(sheet):
        if len((made + part).encode()) > at_most:
            return f"{made}<p>… more in print(study)</p></div>"
        made += part
    return f"{made}</div>"


def _parts(sheet: Sheet) -> Iterator[str]:
    from html import escape

    for alarm in sheet.alarms:
        yield f"<p><strong>{escape(alarm)}</strong></p>"
    if sheet.facts:
        import pandas

        frame = pandas.DataFrame([value for _, value in sheet.facts], index=[name for name, _ in sheet.facts])
        yield _html(frame, header=False)
    for warning in sheet.warnings:
        yield f"<p>warning: {escape(warning)}</p>"
    for block in sheet.blocks:
        yield _html(_frame(block))
    for note in sheet.notes:
        yield f"<p><small>{escape(note)}</small></p>"


def _frame(block: Block) -> DataFrame:
    import pandas

    cells = [[" ".join(part for part in cell if part) for cell in row] for _, row in block.rows]
    names = pandas.Index([name for name, _ in block.rows])
    return pandas.DataFrame(cells, index=names, columns=pandas.Index(block.columns, name=block.corner))


def _html(frame: DataFrame, *, header: bool = True) -> str:
    import pandas

    with pandas.option_context("display.max_colwidth", None):
        return frame.to_html(border=0, escape=True, header=header, justify="left")
