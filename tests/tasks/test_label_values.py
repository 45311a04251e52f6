"""A value of the data means the same label in every file format, or it is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy
import pytest

from iclprobe.errors import UserError
from iclprobe.tasks.catalogue import load_task
from iclprobe.tasks.label_values import NamedClass, is_missing, label_index, label_meaning
from iclprobe.tasks.records import RecordFormat, read_records

STARS = ("1", "2", "3", "4", "5")


@pytest.mark.parametrize("value", [3, 3.0, "3", " 3 ", "3.0", "03", numpy.int64(3), numpy.float32(3)])
def test_a_number_is_the_label_of_that_name_and_never_counts_beside_one(value: object) -> None:
    assert label_index(value, STARS, "here") == 2
    assert label_index(value, ("3", "other"), "here") == 0
    assert label_index(value, ("a", "b", "c", "d"), "here") == 3
    with pytest.raises(UserError, match="one of 1, 2, other"):
        label_index(value, ("1", "2", "other"), "here")


@pytest.mark.parametrize("value", [True, "True", "true", numpy.bool_(True)])
def test_a_truth_value_is_its_name_and_no_number(value: object) -> None:
    assert label_index(value, ("false", "true"), "here") == 1
    assert label_index(value, ("True", "False"), "here") == 0
    assert label_meaning(value, ("bad", "good")) is None


def test_negative_and_broken_numbers_can_be_names() -> None:
    assert [label_index(value, ("-1", "0", "1"), "here") for value in (-1, "-1", 0.0, "1")] == [0, 0, 1, 2]
    assert [label_index(value, ("0.5", "1", "1.5"), "here") for value in (0.5, "0.50", "1.5", 1)] == [
        0,
        0,
        2,
        1,
    ]


def test_a_class_of_a_dataset_means_its_name_where_that_is_a_label() -> None:
    assert label_index(NamedClass(0, "pos"), ("neg", "pos"), "here") == 1
    assert label_index(NamedClass(0, "1"), STARS, "here") == 0
    assert label_index(NamedClass(1, "pos"), ("negative", "positive"), "here") == 1
    assert label_index(NamedClass(1, "2"), STARS, "here") == 1
    assert label_index(NamedClass(0, "Positive"), ("negative", "positive"), "here") == 1
    assert label_index(NamedClass(1, "1"), ("no", "yes"), "here") == 1
    assert copy.deepcopy(NamedClass(1, "x")).name == "x"
    for name in ("LABEL_1", "n", ""):
        with pytest.raises(UserError, match=rf"has the label 1 \({name}\)"):
            label_index(NamedClass(1, name), ("negative", "neutral"), "here")


def test_classes_of_a_dataset_mean_what_they_are_called_through_a_whole_task() -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"text": f"t{index}", "label": str(1 + index % 5)} for index in range(20)]
    encoded = datasets.Dataset.from_list(rows).class_encode_column("label")
    words = {"1": "awful", "2": "bad", "3": "fair", "4": "good", "5": "great"}
    task = load_task(
        "own", data={"train": encoded, "validation": encoded}, template="T {text} L", label_words=words
    )
    assert [task.label_names[record.label] for record in task.train] == [row["label"] for row in rows]
    with pytest.raises(UserError, match="has the label"):
        load_task(
            "own",
            data={"train": encoded, "validation": encoded},
            template="{text} L",
            label_words="1=a,5=c",
        )


def test_names_that_are_the_same_value_are_refused() -> None:
    with pytest.raises(UserError, match="'1' and '01' are the same value"):
        RecordFormat(("text",), ("1", "01"))


@pytest.mark.parametrize("value", [None, "", " ", float("nan"), -1, "-1"])
def test_what_published_test_files_have_in_place_of_labels_is_missing(value: object) -> None:
    assert is_missing(value, ("a", "b"))
    assert is_missing(value, ("-1", "1")) == (value not in (-1, "-1"))


@pytest.mark.parametrize("absent", range(1, 6))
def test_every_file_format_gives_the_same_labels_whichever_class_is_absent(
    tmp_path: Path, absent: int
) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    stars = [star for star in range(1, 6) if star != absent]
    rows = [{"text": f"r{star}", "label": star} for star in stars]
    frame = pandas.DataFrame(rows)
    files = [tmp_path / f"rows.{suffix}" for suffix in ("jsonl", "csv", "tsv", "parquet")]
    files[0].write_text("\n".join(json.dumps(row) for row in rows))
    frame.to_csv(files[1], index=False)
    frame.astype({"label": float}).to_csv(files[2], index=False, sep="\t")
    frame.astype({"label": float}).to_parquet(files[3])
    for source in (*files, frame, rows):
        read = read_records(source, RecordFormat(("text",), STARS))
        assert [STARS[record.label] for record in read] == [str(star) for star in stars]
