"""Folding attention rows: what a cell of several tokens gets and gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .attention_cells import Cells, fitting_cells
from .attention_rows import AttentionRows


def folded(rows: AttentionRows, row_cells: Cells, column_cells: Cells) -> AttentionRows:
    """Fold rows and columns into cells.

    Shares of a pattern add up over the columns of a cell, where a column that is not visible gets none, and are
    averaged over its rows, so that the shares of every folded row still add up to what they did. Scores are averaged
    over the entries of a cell that are visible. A cell is visible where any of its entries is.

    Args:
        rows: Not folded yet.
        row_cells: The cells of the rows.
        column_cells: The cells of the columns.

    Returns:
        Attention of cells, where `row_counts` and `column_counts` say how many tokens each stands for.
    """
    seen = np.broadcast_to(rows.visible, rows.values.shape)
    total = _summed(np.where(seen, rows.values.astype(float), 0.0), row_cells, column_cells)
    if rows.kind == "pattern":
        values = total / np.array(row_cells.counts)[:, None]
    else:
        entries = _summed(seen.astype(float), row_cells, column_cells)
        values = np.divide(total, entries, out=np.zeros_like(total), where=entries > 0)
    return replace(
        rows,
        values=values,
        visible=_summed(rows.visible.astype(int), row_cells, column_cells) > 0,
        row_tokens=row_cells.texts,
        column_tokens=column_cells.texts,
        row_spans=row_cells.spans,
        column_spans=column_cells.spans,
        row_counts=row_cells.counts,
        column_counts=column_cells.counts,
    )


def folded_to_fit(rows: AttentionRows, most_rows: int, most_columns: int) -> AttentionRows:
    """Fold rows and columns as little as it takes to have no more of them; the notes say what was folded.

    Args:
        rows: Folded or not; folded rows that fit are returned as they are.
        most_rows: The most rows there may be.
        most_columns: The most columns there may be.
    """
    row_cells, of_rows = fitting_cells(rows.row_tokens, rows.row_spans, most_rows)
    column_cells, of_columns = fitting_cells(rows.column_tokens, rows.column_spans, most_columns)
    if not of_rows and not of_columns:
        return rows
    if of_rows == of_columns or not of_rows:
        what = of_columns
    else:
        what = f"rows: {of_rows}; columns: {of_columns}" if of_columns else f"rows: {of_rows}"
    how = _how(rows, of_rows, of_columns)
    return replace(folded(rows, row_cells, column_cells), notes=(*rows.notes, f"folded: {what}, {how}"))


def _how(rows: AttentionRows, of_rows: str, of_columns: str) -> str:
    if rows.kind == "scores":
        return "with the mean of its visible scores"
    shares = "the sum of its columns' shares" if of_columns else "the share"
    return f"with {shares}, mean over its rows" if of_rows else f"with {shares}"


def _summed(values: np.ndarray, row_cells: Cells, column_cells: Cells) -> np.ndarray:
    values = values[..., list(row_cells.order), :][..., list(column_cells.order)]
    over_rows = np.add.reduceat(values, row_cells.starts, axis=-2)
    return np.add.reduceat(over_rows, column_cells.starts, axis=-1)
