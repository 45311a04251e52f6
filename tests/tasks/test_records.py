"""Records are read from files, folders and iterables; what is wrong with them is named with file and line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy
import pytest
from shared_material import shared

from iclprobe.errors import UserError
from iclprobe.tasks.records import RecordFormat, label_index, read_pools, read_records, split_records
from iclprobe.tasks.task import Record

FORM = RecordFormat(("text",), ("negative", "positive"))
EXPECTED = (Record({"text": 'dull, "grey"'}, 0), Record({"text": "fine\nfilm"}, 1), Record({"text": "né"}, 1))
ROWS = [
    {"text": 'dull, "grey"', "label": 0},
    {"text": "fine\nfilm", "label": 1},
    {"text": "né", "label": 1},
]


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def write_table(path: Path, delimiter: str) -> Path:
    lines = [
        delimiter.join(("label", "text")),
        delimiter.join(("negative", '"dull, ""grey"""')),
        delimiter.join(("1", '"fine\nfilm"')),
        delimiter.join(("positive", "né")),
    ]
    path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_every_format_gives_the_same_records(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    parquet = tmp_path / "rows.parquet"
    pandas.DataFrame(ROWS).to_parquet(parquet)
    for source in (
        write_jsonl(tmp_path / "rows.jsonl", ROWS),
        write_table(tmp_path / "rows.csv", ","),
        write_table(tmp_path / "rows.tsv", "\t"),
        parquet,
        str(parquet),
        ROWS,
        iter(ROWS),
    ):
        assert read_records(source, FORM) == EXPECTED


def test_columns_are_found_by_the_users_name_then_the_fields_own_then_the_known_one() -> None:
    known = {"sentence": "text"}
    form = RecordFormat(("text",), ("no", "yes"), known_columns=known)
    assert read_records([{"sentence": "a", "label": 0}], form)[0].fields == {"text": "a"}
    assert read_records([{"sentence": "a", "text": "b", "label": 0}], form)[0].fields == {"text": "b"}
    mapped = RecordFormat(("text",), ("no", "yes"), {"body": "text", "stars": "label"}, known)
    row = {"body": "c", "text": "b", "sentence": "a", "stars": "yes", "label": 0}
    assert read_records([row], mapped) == (Record({"text": "c"}, 1),)


def test_two_text_fields_are_taken_and_nothing_else() -> None:
    form = RecordFormat(("premise", "hypothesis"), ("a", "b"))
    row = {"premise": "p", "hypothesis": "h", "idx": 3, "label": 1}
    assert read_records([row], form) == (Record({"premise": "p", "hypothesis": "h"}, 1),)


@pytest.mark.parametrize(
    "value", [1, 1.0, "1", " 1 ", "positive", " positive ", numpy.int64(1), numpy.float64(1)]
)
def test_labels_are_indices_or_names(value: object) -> None:
    assert label_index(value, ("negative", "positive"), "here") == 1


def test_a_label_name_that_is_a_number_is_a_name() -> None:
    assert label_index("1", ("2", "1", "0"), "here") == 1


@pytest.mark.parametrize("value", [2, -1, "2", "-1", "--1", "Positiv", "", None, True, 0.5, float("nan")])
def test_labels_outside_the_set_are_refused_with_place_and_value(value: object) -> None:
    with pytest.raises(UserError) as refusal:
        label_index(value, ("negative", "positive"), "rows.jsonl line 7")
    assert "rows.jsonl line 7" in str(refusal.value)
    assert repr(value) in str(refusal.value)
    assert "negative, positive" in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", '{"text": "a", "label": 0}\n\n{"text": "b", "label": 5}\n', "line 3 has the label 5"),
        ("rows.jsonl", '{"text": "a", "label": 0}\nnot json\n', "line 2 is not JSON "),
        ("rows.jsonl", "[1, 2]\n", "line 1 is no JSON object"),
        ("rows.jsonl", '{"text": 3, "label": 0}\n', "line 1 has no text in the column 'text'"),
        ("rows.jsonl", '{"text": null, "label": 0}\n', "line 1 has no text in the column 'text'"),
        ("rows.jsonl", '{"text": "\\ud83d", "label": 0}\n', "line 1 .* half a character"),
        ("rows.jsonl", '{"body": "a", "label": 0}\n', r"line 1 has no column 'text' \(it has body, label\)"),
        ("rows.jsonl", '{"text": "a"}\n', "line 1 has no column 'label'"),
        ("rows.jsonl", "\n \n", "rows.jsonl has no records"),
        ("rows.csv", "text,label\n", "rows.csv has no records"),
        ("rows.csv", "", "rows.csv has no records"),
        ("rows.csv", "text,label\na,0\nb,c,1\n", "line 3 has 3 fields and the header names 2"),
        ("rows.csv", 'text,label\n"a,0\n', "cannot be read"),
        ("rows.csv", "text,label\na,maybe\n", "line 2 has the label 'maybe'"),
        ("rows.parquet", "not parquet", "Parquet"),
        ("rows.txt", "a\n", "Cannot read .*rows.txt': give a file that ends in .jsonl, .csv, .tsv, .parquet"),
    ],
)
def test_bad_files_are_refused_with_file_line_and_value(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message) as refusal:
        read_records(path, FORM)
    assert name in str(refusal.value)


def test_missing_files_and_text_that_is_not_utf8_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no file .*none\.jsonl"):
        read_pools(tmp_path / "none.jsonl", FORM)
    latin = tmp_path / "latin.csv"
    latin.write_bytes("text,label\nné,0\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.csv' line 2 is not UTF-8"):
        read_records(latin, FORM)


def test_a_parquet_file_with_a_missing_label_names_the_row(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.parquet"
    pandas.DataFrame({"text": ["a", "b"], "label": [0, None]}).to_parquet(path)
    with pytest.raises(UserError, match="row 2 has the label None"):
        read_records(path, FORM)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "The given data has no records"),
        ([{"text": "a", "label": 0}, "b"], "Record 2 of the given data is"),
        ([{"text": "a", "label": 9}], "Record 1 of the given data has the label 9"),
        (7, "Cannot read records from a int"),
    ],
)
def test_bad_iterables_are_refused(source: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_records(source, FORM)  # pyright: ignore[reportArgumentType]


def test_a_column_mapped_to_an_unknown_field_is_refused() -> None:
    with pytest.raises(UserError, match=r"'sentence' is mapped to 'txt'.*text, label"):
        RecordFormat(("text",), ("a", "b"), {"sentence": "txt"})


def test_a_folder_holds_train_and_validation(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", ROWS[:2])
    with pytest.raises(UserError, match=r"has no validation file: put validation\.jsonl"):
        read_pools(tmp_path, FORM)
    write_table(tmp_path / "test.csv", ",")
    assert read_pools(tmp_path, FORM) == (EXPECTED[:2], EXPECTED)
    write_jsonl(tmp_path / "validation.jsonl", ROWS[2:])
    assert read_pools(str(tmp_path), FORM) == (EXPECTED[:2], EXPECTED[2:])
    write_table(tmp_path / "train.csv", ",")
    with pytest.raises(UserError, match=r"both train\.jsonl and train\.csv"):
        read_pools(tmp_path, FORM)


def test_a_mapping_holds_train_and_validation() -> None:
    assert read_pools({"train": ROWS[:2], "test": ROWS[2:]}, FORM) == (EXPECTED[:2], EXPECTED[2:])
    with pytest.raises(UserError, match="has the keys train, queries"):
        read_pools({"train": ROWS, "queries": ROWS}, FORM)


def test_one_source_is_split_into_disjoint_halves_by_a_fixed_seed(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": f"text {index}", "label": index % 2} for index in range(41)]
    train, validation = read_pools(write_jsonl(tmp_path / "rows.jsonl", rows), FORM)
    assert (train, validation) == read_pools(rows, FORM)
    assert (len(train), len(validation)) == (21, 20)
    assert not {record.texts for record in train} & {record.texts for record in validation}
    numbers = [int(record.fields["text"].split()[1]) for record in train]
    assert numbers == sorted(numbers) != list(range(21))


def test_the_same_text_never_falls_into_both_halves() -> None:
    records = tuple(Record({"text": f"text {index % 6}"}, index % 2) for index in range(30))
    train, validation = split_records(records)
    assert Counter([*train, *validation]) == Counter(records)
    assert not {record.texts for record in train} & {record.texts for record in validation}
    with pytest.raises(UserError, match="1 distinct"):
        split_records(records[:1] * 3)


@pytest.mark.parametrize(
    ("name", "fields", "classes"),
    [
        ("sst2", ("text",), 2),
        ("sst5", ("text",), 5),
        ("mr", ("text",), 2),
        ("agnews", ("text",), 4),
        ("cb", ("premise", "hypothesis"), 3),
    ],
)
def test_real_samples_are_read_whole(name: str, fields: tuple[str, ...], classes: int) -> None:
    folder = shared(f"data/{name}")
    pools = read_pools(folder, RecordFormat(fields, tuple(f"label {label}" for label in range(classes))))
    for stem, records in zip(("train", "validation"), pools, strict=True):
        lines = (folder / f"{stem}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        assert [dict(record.fields) | {"label": record.label} for record in records] == rows
        assert {record.label for record in records} == set(range(classes))


@pytest.mark.parametrize("line", ["[" * 100_000, '{"text": "a", "label": ' + "1" * 5000 + "}"])
def test_a_line_that_python_cannot_read_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=r"line 1 (nests too deep|is not JSON)"):
        read_records(tmp_path / "a.jsonl", RecordFormat(("text",), ("no", "yes")))
