"""Quotation marks enclose a field or are part of its text: each dialect is read right, or the user is asked."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import pytest
from shared_material import shared

from iclprobe.errors import UserError
from iclprobe.tasks.records import RecordFormat, read_records
from iclprobe.tasks.table_files import read_rows


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def fields(path: Path, **options: str) -> list[tuple[str, str]]:
    return [(row["text"], row["label"]) for _, row in read_rows(path, **options)]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "records",
    [
        [('"a film of ideas', "0"), ("another plain", "1"), ('the end"', "0"), ("last", "1")],
        [('"song" is on air', "1"), ("plain", "0")],
        [('he said "no"', "1"), ("plain", "0")],
        [('"', "1"), ("plain", "0")],
        [('"never closed', "1"), ("plain", "0")],
    ],
)
@pytest.mark.parametrize("label_first", [False, True])
def test_unquoted_tsv_keeps_every_record_and_mark(
    tmp_path: Path, records: list[tuple[str, str]], label_first: bool
) -> None:
    lines = ["\t".join(row[::-1] if label_first else row) for row in [("text", "label"), *records]]
    path = write(tmp_path / "glue.tsv", *lines)
    assert fields(path) == records == fields(path, quoting="none")


AWKWARD = [
    ("plain", "0"),
    ('say "no"', "1"),
    ("two\nlines", "0"),
    ("tab\tand, comma", "1"),
    ('"whole"', "0"),
    ('"', "1"),
]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("writing", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_what_csv_writers_write_is_read_back(tmp_path: Path, suffix: str, writing: int) -> None:
    path = tmp_path / f"rows{suffix}"
    with path.open("w", newline="") as file:
        table = csv.writer(file, delimiter="," if suffix == ".csv" else "\t", quoting=writing)  # pyright: ignore[reportArgumentType]
        table.writerows([("text", "label"), *AWKWARD])
    assert fields(path) == AWKWARD == fields(path, quoting="minimal")


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("rows.tsv", ["text\tlabel", '"a fine film"\t1', "plain\t0"]),
        ("rows.tsv", ["text\tlabel", '"say ""no"""\t1', 'a bare "mark"\t0']),
        ("rows.tsv", ["text\tlabel", '"one\ttext', 'of two lines"\t1', "plain\t0"]),
        ("rows.csv", ["text,label", '"a film of ideas,0', "another plain,1", 'the end",0', "last,1"]),
        (
            "rows.csv",
            ["text,label", '"properly, quoted",1', '"a film,0', "plain,1", "odd, odd, odd", 'end",0'],
        ),
        ("rows.csv", ["text,label", '"a film,neg', 'the end",pos']),
    ],
)
def test_what_may_be_either_is_asked_and_never_guessed(tmp_path: Path, name: str, lines: list[str]) -> None:
    path = write(tmp_path / name, *lines)
    with pytest.raises(
        UserError, match=r"line \d has a field that begins with .*quoting='none'|cannot be read"
    ):
        read_rows(path)


def test_the_user_says_which(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.tsv", "text\tlabel", '"a fine film"\t1')
    assert fields(path, quoting="none") == [('"a fine film"', "1")]
    assert fields(path, quoting="minimal") == [("a fine film", "1")]
    path = write(tmp_path / "rows.csv", "text,label", '"a film of ideas,0', "plain,1", 'the end",0')
    assert [text for text, _ in fields(path, quoting="none")] == ['"a film of ideas', "plain", 'the end"']
    assert fields(path, quoting="minimal") == [("a film of ideas,0\nplain,1\nthe end", "0")]


def test_long_texts_over_several_lines_that_look_like_nothing_else_are_read(tmp_path: Path) -> None:
    letters = [(f"Dear all {number},\nthanks, folks\nbye", str(number % 2)) for number in range(30)]
    path = tmp_path / "letters.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *letters])
    assert fields(path) == letters


def test_a_quote_that_is_never_closed_is_told_where_it_opens(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "text,label", "plain,0", '"open,1', "plain,0", "plain,1")
    with pytest.raises(UserError, match=r"line 3 cannot be read .*close every quotation mark"):
        read_rows(path)


def test_fields_of_any_length_are_read_and_csvs_own_limit_stays(tmp_path: Path) -> None:
    long = "x " * 100_000
    path = write(tmp_path / "long.csv", "text,label", f'"{long}, end",1')
    limit = csv.field_size_limit()
    found: list[list[tuple[str, str]]] = []
    threads = [threading.Thread(target=lambda: found.append(fields(path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[(f"{long}, end", "1")]] * 4
    assert csv.field_size_limit() == limit
    with pytest.raises(UserError):
        read_rows(write(tmp_path / "bad.csv", "text,label", '"x'))
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.csv", "text,label,text\na,0,b\n"), ("rows.tsv", "label\tlabel\ttext\n0\t1\tb\n")],
)
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=r"names the column '(text|label)' twice"):
        read_rows(tmp_path / name)


@pytest.mark.parametrize("name", ["sst2", "agnews"])
def test_real_texts_survive_both_dialects(tmp_path: Path, name: str) -> None:
    pandas = pytest.importorskip("pandas")
    form = RecordFormat(("text",), tuple("abcd"))
    rows = read_records(shared(f"data/{name}") / "validation.jsonl", form)
    frame = pandas.DataFrame([{"text": row.fields["text"], "label": row.label} for row in rows])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_csv(tmp_path / "rows.tsv", index=False, sep="\t")
    lines = [f"{row.fields['text']}\t{row.label}" for row in rows]
    files = [
        tmp_path / "rows.csv",
        tmp_path / "rows.tsv",
        write(tmp_path / "glue.tsv", "text\tlabel", *lines),
    ]
    for path in files:
        assert read_records(path, form) == rows


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("quoting", ["none", "minimal"])
def test_a_record_with_a_field_too_few_is_refused_wherever_it_stands(
    tmp_path: Path, quoting: str, place: int
) -> None:
    lines = ["text\tlabel", *("plain\t0" if line != place else "alone" for line in (1, 2, 3))]
    with pytest.raises(
        UserError, match=rf"line {place + 1} has 1 fields and the header names 2 \(text, label\)"
    ):
        fields(write(tmp_path / "short.tsv", *lines), quoting=quoting)
