"""Which files and keys are trained on and asked: val is known, an unlabelled test is never asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iclprobe.errors import UserError
from iclprobe.tasks.records import RecordFormat, read_data

FORM = RecordFormat(("text",), ("bad", "good"))


def rows(name: str, labels: bool = True) -> list[dict[str, Any]]:
    return [{"text": f"{name}{n}", **({"label": n % 2} if labels else {})} for n in range(3)]


def folder(path: Path, *names: str, unlabelled: str = "") -> Path:
    for name in names:
        lines = [json.dumps(row) for row in rows(name, name != unlabelled)]
        (path / (name if "." in name else f"{name}.jsonl")).write_text("\n".join(lines))
    return path


def asked(data: Any) -> str:
    return read_data(data, FORM).validation[0].fields["text"]


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev", "Val", "validation_matched", "dev-0"])
@pytest.mark.parametrize("unlabelled", ["", "test"])
def test_the_validation_part_is_asked_whatever_its_name_and_test_is_not(
    tmp_path: Path, name: str, unlabelled: str
) -> None:
    assert asked(folder(tmp_path, "train", name, "test", unlabelled=unlabelled)) == f"{name}0"
    parts = {part: rows(part, part != unlabelled) for part in ("train", name, "test")}
    assert asked(parts) == f"{name}0"


def test_the_layout_of_the_hubs_files_is_known(tmp_path: Path) -> None:
    data = folder(tmp_path, "train-00000-of-00001.jsonl", "validation-00000-of-00001.jsonl", "README.md")
    assert asked(data).startswith("validation-0")


@pytest.mark.parametrize("names", [("val", "dev"), ("validation_matched", "validation_mismatched")])
def test_two_candidates_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=r"has both .* and .*: keep one of them"):
        read_data(folder(tmp_path, "train", *names), FORM)
    with pytest.raises(UserError, match=r"has both .* and .*: keep one of them"):
        read_data({name: rows(name) for name in ("train", *names)}, FORM)


def test_a_name_alone_goes_before_one_with_something_behind_it(tmp_path: Path) -> None:
    assert asked(folder(tmp_path, "train", "train_small", "dev", "dev_small")) == "dev0"


def test_a_labelled_test_part_is_asked_where_nothing_else_is_and_it_is_said(tmp_path: Path) -> None:
    read = read_data(folder(tmp_path, "train", "test"), FORM)
    assert read.validation[0].fields["text"] == "test0"
    assert read.notes == (f"{tmp_path / 'test.jsonl'} is asked, as there is no validation part",)


@pytest.mark.parametrize("missing", [None, -1, ""])
def test_an_unlabelled_test_part_is_refused_where_nothing_else_is(tmp_path: Path, missing: object) -> None:
    data = {"train": rows("train"), "test": [{"text": "a", "label": missing}, {"text": "b"}]}
    with pytest.raises(UserError, match=r"no validation part, and the records of 'test' have no labels"):
        read_data(data, FORM)


def test_a_part_alone_can_be_given_to_be_split_and_the_split_is_told() -> None:
    with pytest.raises(UserError, match=r"has the keys train: .*one part alone, which is split in two"):
        read_data({"train": rows("train")}, FORM)
    read = read_data([{"text": f"t{n}", "label": n % 2} for n in range(11)], FORM)
    assert read.notes == ("the given data was split: 6 records to draw demonstrations from, 5 to ask",)


def test_records_know_their_place_in_their_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n\n".join(json.dumps({"text": f"t{n}", "label": n % 2}) for n in range(9)))
    read = read_data(path, FORM)
    for record in (*read.train, *read.validation):
        assert record.fields["text"] == f"t{record.index}"
