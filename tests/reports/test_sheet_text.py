"""Sheets as text: numbers stand below each other, sentences are read in lines."""

from __future__ import annotations

from iclprobe.reports.sheet_text import sheet_text
from iclprobe.study.sheet import Block, Sheet


def sheet(*columns: str, **rows: tuple[tuple[str, ...], ...]) -> Sheet:
    return Sheet((), (), (), (Block("what", columns, tuple(rows.items())),), ())


def test_a_column_of_sentences_is_wrapped_and_begins_on_the_left() -> None:
    long = "a sentence that goes on for longer than any number would ever do in a table of numbers"
    said = sheet_text(sheet("claim", "n", one=((long,), ("1",)), two=(("short",), ("20",)))).lstrip("\n")
    lines = said.splitlines()
    assert max(map(len, lines)) <= 100
    assert " ".join(line[7:47].strip() for line in lines[1:4]) == long
    assert lines[-1].split() == ["two", "short", "20"] and lines[-1].index("short") == lines[1].index(
        "a sentence"
    )


def test_a_table_of_numbers_is_as_wide_as_it_has_to_be() -> None:
    headings = tuple(f"a measure of some length {number}" for number in range(6))
    said = sheet_text(sheet(*headings, one=tuple((f"{number}.5",) for number in range(6)))).lstrip("\n")
    assert len(said.splitlines()) == 2 and max(map(len, said.splitlines())) > 100
