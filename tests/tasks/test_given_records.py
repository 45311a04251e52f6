"""DataFrames, datasets and lists are read as files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iclprobe.errors import UserError
from iclprobe.tasks.given_records import GivenRecords
from iclprobe.tasks.records import RecordFormat, read_pools, read_records

FORM = RecordFormat(("text",), ("bad", "good"))
ROWS: list[dict[str, Any]] = [{"text": f"t{n}", "label": n % 2} for n in range(8)]


def sources(rows: list[dict[str, Any]]) -> dict[str, Any]:
    pandas, datasets = pytest.importorskip("pandas"), pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_list(rows)
    return {
        "list": rows,
        "iterator": iter(rows),
        "frame": pandas.DataFrame(rows, index=range(7, 7 + len(rows))),
        "dataset": dataset,
        "tensors": dataset.with_format("numpy"),
        "stream": dataset.to_iterable_dataset(),
    }


@pytest.mark.parametrize("kind", ["list", "iterator", "frame", "dataset", "tensors", "stream"])
def test_every_source_gives_the_same_records(kind: str) -> None:
    expected = read_records(ROWS, FORM)
    assert read_records(sources(ROWS)[kind], FORM) == expected
    given = GivenRecords(sources(ROWS)[kind])
    assert read_pools(given, FORM) == read_pools(given, FORM) == read_pools(ROWS, FORM)
    assert given == GivenRecords(ROWS) and str(given).startswith("given records (8; sha256 ")
    parts = {"train": sources(ROWS[:5])[kind], "val": sources(ROWS[5:])[kind]}
    assert read_pools(parts, FORM) == (expected[:5], read_records(ROWS[5:], FORM))


def test_a_dictionary_of_datasets_is_a_dictionary_of_parts() -> None:
    datasets = pytest.importorskip("datasets")
    parts = {
        "train": datasets.Dataset.from_list(ROWS[:5]),
        "validation": datasets.Dataset.from_list(ROWS[5:]),
    }
    assert read_pools(datasets.DatasetDict(parts), FORM) == read_pools(
        {"train": ROWS[:5], "dev": ROWS[5:]}, FORM
    )


def test_what_is_given_is_copied() -> None:
    rows = [dict(row) for row in ROWS]
    given = GivenRecords(rows)
    rows[0]["text"] = "changed"
    rows.pop()
    assert read_pools(given, FORM) == read_pools(ROWS, FORM)


def test_the_names_of_a_datasets_classes_are_read_from_it_and_from_its_file(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["5", "1"])}
    )
    dataset = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
    dataset.to_parquet(str(tmp_path / "rows.parquet"))
    form = RecordFormat(("text",), ("1", "3", "5"))
    for source in (dataset, dataset.to_iterable_dataset(), tmp_path / "rows.parquet", GivenRecords(dataset)):
        source = source.data if isinstance(source, GivenRecords) else source
        assert [record.label for record in read_records(source, form)] == [2, 0]


def test_frames_with_missing_values_or_a_column_twice_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["a", "b"], "label": [1, None]})
    with pytest.raises(UserError, match="Record 2 of the given data has the label None"):
        read_records(frame, FORM)
    with pytest.raises(UserError, match="Record 1 of the given data has no text in the column 'text'"):
        read_records(pandas.DataFrame({"text": [float("nan")], "label": [0]}), FORM)
    twice = pandas.DataFrame([["a", "b", 1]], columns=["text", "text", "label"])
    with pytest.raises(UserError, match="has the column 'text' twice"):
        read_records(twice, FORM)


def test_keys_and_columns_of_files_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": 0}\n{"text": "b", "label": 0, "label": 1}\n')
    with pytest.raises(UserError, match=r"line 2 .*the key 'label' stands there twice"):
        read_records(tmp_path / "rows.jsonl", FORM)
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    arrays = [pyarrow.array(["a"]), pyarrow.array(["b"]), pyarrow.array([0])]
    parquet.write_table(pyarrow.table(arrays, names=["text", "text", "label"]), tmp_path / "rows.parquet")
    with pytest.raises(UserError, match=r"rows\.parquet' has the column 'text' twice"):
        read_records(tmp_path / "rows.parquet", FORM)
    mapped = RecordFormat(("text",), ("bad", "good"), {"a": "text", "b": "text"})
    with pytest.raises(UserError, match="'a' and 'b', which are both mapped to 'text'"):
        read_records([{"a": "x", "b": "y", "label": 0}], mapped)
