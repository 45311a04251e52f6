"""The table of a comparison: as text for a terminal, as HTML for a notebook, as a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from textwrap import TextWrapper
from typing import TYPE_CHECKING

from ..analyses.comparison.draw import Draw
from ..analyses.comparison.measures import Intervals, measures_of
from ..analyses.configuration import CompareConfig
from .comparison_sheet import Block, Cell, Sheet, sheet_of

if TYPE_CHECKING:
    from pandas import DataFrame

_GAP = "   "


def comparison_text(config: CompareConfig, draws: Sequence[Draw], *, width: int = 88) -> str:
    """Return the table as plain text, without a newline at the end.

    Args:
        config: What was asked.
        draws: One or more draws of demonstrations; several are shown as mean and standard deviation.
        width: Where sentences are wrapped; the columns of numbers take what they need.
    """
    return sheet_text(sheet_of(config, draws), width=width)


def sheet_text(sheet: Sheet, *, width: int = 88) -> str:
    """Return what a table says as plain text, without a newline at the end.

    Args:
        sheet: What it says.
        width: Where sentences are wrapped; the columns of numbers take what they need.
    """
    lines: list[str] = []

    def wrap(text: str, width: int, indent: str = "", name: str = "") -> list[str]:
        return TextWrapper(width, initial_indent=name, subsequent_indent=indent, break_on_hyphens=False).wrap(
            text
        )

    for alarm in sheet.alarms:
        lines += wrap(alarm, width)
    if sheet.alarms:
        lines.append("")
    names = max(len(name) for name, _ in sheet.facts)
    for name, value in sheet.facts:
        lines += wrap(value, width, " " * (names + 2), f"{name:<{names}}  ")
    for warning in sheet.warnings:
        lines += wrap(f"warning: {warning}", width)
    lines.append("")
    lines += _aligned(sheet.blocks)
    for note in sheet.notes:
        lines += wrap(note, width, "  ")
    return "\n".join(lines)


def _aligned(blocks: Sequence[Block]) -> list[str]:
    """Lay out all blocks on one grid, a blank line after each."""
    rendered = [_padded_cells(block) for block in blocks]
    first = max(len(name) for block in blocks for name in (block.corner, *(row for row, _ in block.rows)))
    columns = max(len(block.columns) for block in blocks)
    widths = [
        max(
            len(text)
            for block, rows in zip(blocks, rendered, strict=True)
            if column < len(block.columns)
            for text in (block.columns[column], *(cells[column] for cells in rows))
        )
        for column in range(columns)
    ]
    lines = []
    for block, rows in zip(blocks, rendered, strict=True):
        names = [block.corner, *(name for name, _ in block.rows)]
        for name, cells in zip(names, [block.columns, *rows], strict=True):
            padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
            lines.append(_GAP.join([name.ljust(first), *padded]).rstrip())
        lines.append("")
    return lines


def _padded_cells(block: Block) -> list[list[str]]:
    """Join the parts of each cell, aligned with the cells of its column: numbers right, the last part left."""
    columns = [[cells[column] for _, cells in block.rows] for column in range(len(block.columns))]
    padded = [_padded_column(column) for column in columns]
    return [[column[row] for column in padded] for row in range(len(block.rows))]


def _padded_column(cells: Sequence[Cell]) -> list[str]:
    whole = [cell for cell in cells if len(cell) > 1]
    widths = [max(len(part) for part in parts) for parts in zip(*whole, strict=True)]
    texts = []
    for cell in cells:
        if len(cell) == 1:
            texts.append(cell[0].rjust(widths[0]) if widths and len(cell[0]) < widths[0] else cell[0])
            continue
        *numbers, last = [part.rjust(width) for part, width in zip(cell, widths, strict=True) if width] or [
            ""
        ]
        # The last part of all, an interval, has a ragged end instead of a ragged start.
        texts.append(" ".join([*numbers, last.strip() if widths[-1] else last]))
    return texts


def comparison_html(config: CompareConfig, draws: Sequence[Draw]) -> str:
    """Return the table as HTML for a notebook; every text is escaped.

    Args:
        config: What was asked.
        draws: One or more draws of demonstrations.
    """
    return sheet_html(sheet_of(config, draws))


def sheet_html(sheet: Sheet) -> str:
    """Return what a table says as HTML; every text is escaped."""
    parts = ['<div class="iclprobe-comparison">']
    parts += [f"<p><strong>{escape(alarm)}</strong></p>" for alarm in sheet.alarms]
    facts = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in sheet.facts
    )
    parts.append(f"<table>{facts}</table>")
    parts += [f"<p>warning: {escape(warning)}</p>" for warning in sheet.warnings]
    parts += [_html_block(block) for block in sheet.blocks]
    parts.append(f"<p><small>{'<br>'.join(escape(note) for note in sheet.notes)}</small></p></div>")
    return "\n".join(parts)


def _html_block(block: Block) -> str:
    left = ' style="text-align:left"'
    head = "".join(f"<th{left}>{escape(text)}</th>" for text in (block.corner, *block.columns))
    body = "".join(
        f"<tr><th{left}>{escape(name)}</th>"
        + "".join(f"<td{left}>{escape(' '.join(part for part in cell if part))}</td>" for cell in cells)
        + "</tr>"
        for name, cells in block.rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def comparison_frame(config: CompareConfig, draws: Sequence[Draw]) -> DataFrame:
    """Return one row per draw and measure.

    Columns: ``seed``, ``measure``, ``unit`` (``%`` or ``cosine``), ``value``, ``low`` and ``high`` (bootstrap over
    queries, for that draw), ``numerator`` and ``denominator`` (missing for cosines).

    Args:
        config: What was asked.
        draws: One or more draws of demonstrations.
    """
    import pandas

    intervals = Intervals(config.resamples, config.level)
    rows = [
        (
            draw.seed,
            measure.name,
            measure.unit,
            measure.value,
            measure.low,
            measure.high,
            measure.numerator,
            measure.denominator,
        )
        for draw in draws
        for measure in measures_of(draw, config.agreement, intervals)
    ]
    columns = ["seed", "measure", "unit", "value", "low", "high", "numerator", "denominator"]
    frame = pandas.DataFrame(rows, columns=pandas.Index(columns))
    return frame.astype({"numerator": "Int64", "denominator": "Int64"})
