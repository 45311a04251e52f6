"""Folding against a loop over every entry, and what becomes a cell."""

from __future__ import annotations

import numpy as np
import pytest
from made_attention import made_prompt, made_rows

from iclprobe.reports.attention_cells import (
    FEWEST_CELLS,
    LEVELS,
    Cells,
    Level,
    cells_of,
    fitting_cells,
    groups_of,
)
from iclprobe.reports.attention_folding import folded, folded_to_fit
from iclprobe.reports.attention_rows import AttentionRows, Kind, SpanMark


def members(cells: Cells) -> list[list[int]]:
    return [
        list(cells.order[start : start + count])
        for start, count in zip(cells.starts, cells.counts, strict=True)
    ]


def loop(rows: AttentionRows, row_cells: Cells, column_cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Fold entry by entry: shares are summed over columns and averaged over rows, visible scores averaged."""
    layers, heads = len(rows.layers), len(rows.heads)
    shape = layers, heads, len(row_cells.starts), len(column_cells.starts)
    values, visible = np.zeros(shape), np.zeros(shape, dtype=bool)
    for layer in range(layers):
        for head in range(heads):
            sees = rows.visible[layer, head if rows.visible.shape[1] > 1 else 0]
            for i, over_rows in enumerate(members(row_cells)):
                for j, over_columns in enumerate(members(column_cells)):
                    entries = [
                        rows.values[layer, head, row, column]
                        for row in over_rows
                        for column in over_columns
                        if sees[row, column]
                    ]
                    visible[layer, head, i, j] = bool(entries)
                    by = len(over_rows) if rows.kind == "pattern" else len(entries)
                    values[layer, head, i, j] = sum(entries) / by if entries else 0
    return values, visible


@pytest.mark.parametrize("kind", ["scores", "pattern"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("run", [1, 3])
def test_folding_is_the_loop_over_every_entry(kind: Kind, level: Level, run: int) -> None:
    rows = made_rows(3, 4, 7, kind=kind, window=9)
    row_cells = cells_of(rows.row_tokens, rows.row_spans, level, run)
    column_cells = cells_of(rows.column_tokens, rows.column_spans, level, 2)
    found = folded(rows, row_cells, column_cells)
    values, visible = loop(rows, row_cells, column_cells)
    assert found.values == pytest.approx(values)
    assert np.array_equal(np.broadcast_to(found.visible, visible.shape), visible)
    assert not visible.all() and visible.any()
    assert found.row_counts == row_cells.counts and found.column_tokens == column_cells.texts


def test_heads_that_see_other_columns_are_folded_by_themselves() -> None:
    rows = made_rows(2, 3, 4, kind="scores")
    seen = np.random.default_rng(1).random(rows.values.shape) < 0.4
    rows = AttentionRows(
        **{**vars(rows), "visible": seen, "values": np.where(seen, rows.values, 1e9)}  # Never read.
    )
    cells = cells_of(rows.row_tokens, rows.row_spans, "parts")
    found = folded(rows, cells, cells)
    values, visible = loop(rows, cells, cells)
    assert found.values == pytest.approx(values)
    assert np.array_equal(found.visible, visible)


@pytest.mark.parametrize("level", LEVELS)
def test_shares_of_a_folded_row_still_add_up_to_one(level: Level) -> None:
    rows = made_rows(3, 4, 5)
    cells = cells_of(rows.row_tokens, rows.row_spans, level, 2)
    assert folded(rows, cells, cells).values.sum(axis=-1) == pytest.approx(1)


def test_cells_are_parts_demonstrations_or_all_of_them() -> None:
    tokens, spans = made_prompt(2, 3, 4)
    assert cells_of(tokens, spans, "tokens").texts == tokens
    parts = cells_of(tokens, spans, "parts")
    assert parts.texts == (
        *("<s>", "input", " positive", "\n\n", "input", " negative", "\n\n"),
        *(" a", " b", " a", " b"),
    )
    assert parts.counts == (1, 3, 1, 1, 3, 1, 1, 1, 1, 1, 1)
    assert parts.spans[1] == SpanMark("demonstration input", 1, 2, 0)
    assert parts.spans[-1] == SpanMark("query", 7, 11)
    each = cells_of(tokens, spans, "demonstrations", 3)
    # What stands between two labels is one cell; it begins with the separator of the demonstration before.
    assert each.texts == ("<s>", "1", " positive", "2", " negative", "\n\n", "␣a…␣a", " b")
    assert each.starts == (0, 1, 4, 5, 9, 10, 11, 14) and each.counts == (1, 3, 1, 4, 1, 1, 3, 1)
    assert each.spans[3:5] == (
        SpanMark("demonstration input", 3, 4, 1),
        SpanMark("demonstration label", 4, 5, 1),
    )
    every = cells_of(tokens, spans, "all demonstrations")
    assert every.texts[:3] == ("<s>", "2 demonstrations", "their labels") and every.counts[1:3] == (8, 2)
    assert every.spans[1:3] == (SpanMark("demonstrations", 1, 2, 0), SpanMark("demonstration label", 2, 3, 0))


def test_tokens_that_no_span_holds_are_cells_too() -> None:
    cells = cells_of(tuple("abcdefg"), (SpanMark("query", 2, 4),), "tokens", 2)
    assert cells.texts == ("a…b", "c…d", "e…f", "g") and cells.spans == (SpanMark("query", 1, 2),)


def test_a_label_of_several_tokens_names_its_demonstration_as_a_whole() -> None:
    tokens = ("x", " very", " good", "\n", "q")
    spans = (
        SpanMark("demonstration input", 0, 1, 4),
        SpanMark("demonstration label", 1, 3, 4),
        SpanMark("separator", 3, 4, 4),
        SpanMark("query", 4, 5),
    )
    assert cells_of(tokens, spans, "demonstrations").texts == ("x", "␣very good", "\n", "q")
    assert cells_of(tokens, spans, "all demonstrations").texts == ("1 demonstration", "their labels", "q")
    assert cells_of(tokens, spans, "parts").texts == ("x", "␣very good", "\n", "q")
    assert [name for name, _ in groups_of(tokens, spans)] == ["5 very good", "query"]


def test_the_head_of_a_chat_s_turn_is_folded_before_demonstrations_lose_their_parts() -> None:
    spans = (
        SpanMark("turn head", 0, 26),
        SpanMark("demonstration input", 26, 30, 0),
        SpanMark("demonstration label", 30, 31, 0),
        SpanMark("demonstration input", 31, 35, 1),
        SpanMark("demonstration label", 35, 36, 1),
        SpanMark("query", 36, 66),
        SpanMark("turn tail", 66, 71),
    )
    tokens = tuple(f"t{place}" for place in range(71))
    cells, note = fitting_cells(tokens, spans, 60)
    assert cells.texts[:5] == ("turn head", "input", "t30", "input", "t35") and len(cells.starts) == 40
    assert note == "each part of a demonstration is one cell and so is the head of the turn"
    alone = (SpanMark("turn head", 0, 26), SpanMark("query", 26, 71))
    cells, note = fitting_cells(tokens, alone, 60)
    assert (cells.texts[0], len(cells.starts), note) == ("turn head", 46, "the head of the turn is one cell")


def test_demonstrations_are_groups_named_by_number_and_label() -> None:
    tokens, spans = made_prompt(2, 3, 4, chat=True)
    expected = [("turn head", 0, 3), ("1 positive", 3, 8), ("2 negative", 8, 13), ("query", 13, 17)]
    groups = [(name, span.start, span.stop) for name, span in groups_of(tokens, spans)]
    assert groups == [*expected, ("turn tail", 17, 20)]
    each = cells_of(tokens, spans, "demonstrations")
    assert [name for name, _ in groups_of(each.texts, each.spans)][1:3] == ["1 positive", "2 negative"]
    every = cells_of(tokens, spans, "all demonstrations")
    assert [name for name, _ in groups_of(every.texts, every.spans)][1] == "2 demonstrations"


@pytest.mark.parametrize(
    ("most", "count", "note"),
    [
        (60, None, ""),
        (15, None, ""),
        (14, 11, "each part of a demonstration is one cell"),
        (11, 11, "each part of a demonstration is one cell"),
        (10, 10, "each demonstration is one cell and its label another"),
        (
            9,
            8,
            "each demonstration is one cell and its label another and 2 neighbouring tokens are one cell elsewhere",
        ),
    ],
)
def test_the_finest_cells_that_fit_are_taken(most: int, count: int | None, note: str) -> None:
    cells, said = fitting_cells(*made_prompt(2, 3, 4), most)
    assert said == note and len(cells.starts) == (count or 15)


@pytest.mark.parametrize(
    ("demonstrations", "query", "most"), [(0, 500, 60), (8, 300, 30), (100, 300, 60), (100, 4, 8), (3, 9, 1)]
)
def test_whatever_a_prompt_is_its_cells_fit_and_hold_every_token_once(
    demonstrations: int, query: int, most: int
) -> None:
    tokens, spans = made_prompt(demonstrations, 6, query, chat=True)
    cells, note = fitting_cells(tokens, spans, most)
    assert len(cells.starts) <= max(most, FEWEST_CELLS) and note
    assert sorted(token for cell in members(cells) for token in cell) == list(range(len(tokens)))
    assert len(cells.texts) == len(cells.starts)


def test_more_spans_than_cells_are_no_crash() -> None:
    tokens = tuple("ab" * 50)
    spans = tuple(SpanMark("query", place, place + 1) for place in range(0, 100, 2))
    cells, note = fitting_cells(tokens, spans, 20)
    assert len(cells.starts) == 20 and note == "5 neighbouring tokens are one cell" and cells.spans == ()


def test_rows_and_columns_are_folded_each_as_it_needs() -> None:
    rows = made_rows(8, 10, 6, last=6)
    found = folded_to_fit(rows, 30, 40)
    assert found.row_tokens == rows.row_tokens and len(found.column_tokens) == 31
    assert found.notes == (
        "folded: each part of a demonstration is one cell, with the sum of its columns' shares",
    )
    assert folded_to_fit(rows, 200, 200) is rows
    whole = folded_to_fit(made_rows(8, 10, 6), 40, 40)
    assert whole.notes[0].endswith("with the sum of its columns' shares, mean over its rows")
    scores = folded_to_fit(made_rows(8, 10, 6, kind="scores"), 40, 40)
    assert scores.notes[0].endswith("with the mean of its visible scores")
    lines = folded_to_fit(made_rows(0, 1, 30), 10, 60)
    assert lines.notes[0].startswith("folded: rows: 4 neighbouring tokens")
    assert lines.notes[0].endswith("with the share, mean over its rows")
    assert lines.values.shape[2:] == (9, 31)


@pytest.mark.parametrize("demonstrations", [1, 8, 25, 100])
@pytest.mark.parametrize("query", [4, 40, 300])
@pytest.mark.parametrize("most", [FEWEST_CELLS, 30, 60])
def test_labels_are_never_folded_into_the_texts_that_they_belong_to(
    demonstrations: int, query: int, most: int
) -> None:
    tokens, spans = made_prompt(demonstrations, 12, query)
    labels = {place for span in spans if span.name == "demonstration label" for place in span.places}
    for cell in members(fitting_cells(tokens, spans, most)[0]):
        assert set(cell) <= labels or not set(cell) & labels
