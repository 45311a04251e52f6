"""Own data from memory and from files: one result whatever holds it, and nothing about it untold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoint
import yaml

import iclprobe
from iclprobe.analyses.comparison.config import CompareConfig
from iclprobe.analyses.configuration import SubjectConfig
from iclprobe.analyses.drift.config import DriftConfig
from iclprobe.analyses.subject import load_subject
from iclprobe.errors import UserError
from iclprobe.settings import make_config
from iclprobe.study.plain_values import plain
from iclprobe.tasks.catalogue import DEFAULT_TASK
from iclprobe.tasks.given_records import GivenRecords
from iclprobe.tasks.record_length import filter_long_records

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def parts(records: Path) -> dict[str, Rows]:
    return {
        name: [json.loads(line) for line in (records / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "validation")
    }


@pytest.fixture(scope="module")
def options(checkpoint: Path) -> dict[str, Any]:
    return {
        "model": str(checkpoint),
        "template": tiny_checkpoint.TEMPLATE,
        "label_words": ("bad", "good"),
        "shots": 4,
        "learning_rate": 0.5,
        "device": "cpu",
        "resamples": 20,
    }


def test_a_comparison_is_the_same_whatever_holds_its_records(
    options: dict[str, Any], records: Path, parts: dict[str, Rows]
) -> None:
    pandas, datasets = pytest.importorskip("pandas"), pytest.importorskip("datasets")
    held = {
        "path": records,
        "paths": {"train": records / "train.jsonl", "val": str(records / "validation.jsonl")},
        "lists": parts,
        "frames": {name: pandas.DataFrame(rows) for name, rows in parts.items()},
        "datasets": datasets.DatasetDict(
            {name: datasets.Dataset.from_list(rows) for name, rows in parts.items()}
        ),
    }
    expected = iclprobe.compare(data=str(records), **options).to_pandas()
    for name, data in held.items():
        found = iclprobe.compare(data=data, **options)
        assert found.to_pandas().equals(expected), name
        assert found.config.task == "own"


def _short(**changes: Any) -> dict[str, Any]:
    return {"arms": "shen_sgd", "epochs": 1, "learning_rates": 0.1, "seeds": 0, **changes}


@pytest.mark.parametrize(
    ("study", "changes"),
    [
        (iclprobe.compare, {"shots": (1, 2), "learning_rate": 0.1}),
        (iclprobe.controls, {"controls": "none", "learning_rate": 0.1}),
        (iclprobe.gradients, {"learning_rate": 0.1, "recipes": ("dai",)}),
        (iclprobe.order, _short(orders=2)),
        (iclprobe.outputs, _short(shots=2)),
    ],
)
def test_every_study_takes_records_in_memory_and_tells_of_their_split(
    options: dict[str, Any],
    parts: dict[str, Rows],
    study: Callable[..., Any],
    changes: dict[str, Any],
    tmp_path: Path,
) -> None:
    mine = {name: value for name, value in options.items() if name not in ("learning_rate", "resamples")}
    with pytest.warns(
        UserWarning, match="given data was split: 12 records to draw demonstrations from, 12 to ask"
    ):
        study(data=iter(parts["train"]), **{**mine, **changes}, out=tmp_path / "run")
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["data"].startswith("given records (24; sha256 ")


def test_records_in_memory_stay_in_a_configuration_and_leave_their_text_in_files(
    options: dict[str, Any], parts: dict[str, Rows], tmp_path: Path
) -> None:
    first = iclprobe.compare(data=parts, **options, out=tmp_path / "run")
    text = str(first.config.data)
    assert text.startswith("given records (train 24, validation 12; sha256 ")
    assert (
        json.loads(first.config.model_dump_json())["data"] == text == plain(first.config.model_dump())["data"]
    )
    assert first.config.model_copy(update={"shots": (2,)}).data == first.config.data == GivenRecords(parts)
    again = iclprobe.compare(first.config, seeds=(1,))
    assert again.config.data == first.config.data
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written.pop("analysis") == "compare"
    with pytest.raises(
        UserError, match="the records were in memory and are not in this file: give them again"
    ):
        make_config(CompareConfig, written, "config.yaml")
    assert make_config(CompareConfig, {**written, "data": parts}, "config.yaml").data == first.config.data


def test_data_without_a_task_is_no_data_of_the_default_task() -> None:
    assert SubjectConfig().task == DEFAULT_TASK
    assert SubjectConfig(data="reviews.csv").task == "own"
    assert SubjectConfig(data="reviews.csv", task="sst2").task == "sst2"


def test_label_words_by_value_go_through_yaml_and_json() -> None:
    config = SubjectConfig(label_words=yaml.safe_load("{1: bad, 5: good}"))
    assert config.label_words == {"1": "bad", "5": "good"}
    assert SubjectConfig(**yaml.safe_load(yaml.safe_dump(plain(config.model_dump())))) == config
    assert SubjectConfig(**json.loads(config.model_dump_json())) == config
    assert SubjectConfig(label_words="1=bad,5=good") == config  # pyright: ignore[reportArgumentType]
    assert SubjectConfig(label_words="bad, good").label_words == ("bad", "good")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({1: "bad", "1": "good"}, "value '1' twice"),
        ("1=bad,1.0=good", "value '1' twice"),
        ("1=bad,good", "not of the form"),
        ("=bad,1=good", "can be no label"),
        ({None: "bad", 1: "good"}, "can be no label"),
        (yaml.safe_load("[no, yes]"), "quote yes, no"),
        ({0: None, 1: "good"}, "no text"),
    ],
)
def test_label_words_that_cannot_be_meant_are_refused(words: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_config(SubjectConfig, {"label_words": words}, "here")


@pytest.mark.parametrize("kind", [SubjectConfig, DriftConfig, iclprobe.OrderConfig, iclprobe.ControlsConfig])
def test_one_seed_twice_is_refused(kind: Any) -> None:
    for seeds in ("0,0", (1, 2, 1)):
        values = {
            "seeds": seeds,
            **({"checkpoints": ({"model": "a"}, {"model": "b"})} if kind is DriftConfig else {}),
        }
        with pytest.raises(UserError, match="a seed is named twice"):
            make_config(kind, values, "here")


def test_queries_that_are_trained_on_are_taken_out_and_counted(
    options: dict[str, Any], parts: dict[str, Rows], tmp_path: Path
) -> None:
    alone = iclprobe.compare(data=parts, **options)
    repeated = {**parts, "validation": parts["train"][:3] + parts["validation"]}
    with pytest.warns(UserWarning, match="3 queries also stand in the training records, and are not asked"):
        found = iclprobe.compare(data=repeated, **options, out=tmp_path / "run")
    assert found.to_pandas().equals(alone.to_pandas())
    assert "3 left out, which also stand in the training records" in " ".join(found.table().split())
    tables = found.tables
    assert tables["draws"]["seen_queries"].tolist() == [3]
    assert tables["queries"]["query_index"].tolist() == list(range(3, 15))


def test_a_query_is_numbered_as_in_its_file_whatever_is_left_out(
    options: dict[str, Any], parts: dict[str, Rows], tmp_path: Path
) -> None:
    pandas = pytest.importorskip("pandas")
    rows = parts["train"][:2] + parts["validation"]
    (tmp_path / "data").mkdir()
    for name, own in (("train", parts["train"]), ("val", rows)):
        pandas.DataFrame(own).to_csv(tmp_path / "data" / f"{name}.csv", index=False)
    model = iclprobe.load_model(options["model"], device="cpu")
    whole = load_subject(SubjectConfig(data=str(tmp_path / "data"), **_subject(options)), model).task
    lengths = sorted(
        len(model.require_tokenizer()(whole.template.render(record), add_special_tokens=False)["input_ids"])  # pyright: ignore[reportArgumentType]
        for record in whole.validation
    )
    limit = lengths[0]
    assert len(filter_long_records(whole, model.require_tokenizer(), limit).task.validation) < len(
        whole.validation
    )
    short = {"max_record_tokens": limit}
    changes: dict[str, Any]
    for changes in ({"limit": 5}, short, {**short, "limit": 3}):
        out = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        iclprobe.compare(data=str(tmp_path / "data"), **options, **changes, out=out)
        examples = pandas.read_csv(out / "queries.csv")
        assert len(examples) and (examples["query_index"] >= 2).all()
        for index, text in zip(examples["query_index"], examples["text"], strict=True):
            assert text == tiny_checkpoint.TEMPLATE.format(text=rows[index]["text"])


def test_a_query_of_a_split_file_has_its_number_there(options: dict[str, Any], records: Path) -> None:
    rows = [json.loads(line) for line in (records / "train.jsonl").read_text().splitlines()]
    queries = iclprobe.compare(data=records / "train.jsonl", **options).tables["queries"]
    indices = queries["query_index"].tolist()
    assert indices == sorted(indices) != list(range(12))
    for index, text in zip(indices, queries["text"], strict=True):
        assert text == tiny_checkpoint.TEMPLATE.format(text=rows[index]["text"])


def test_a_split_stands_in_the_table_and_the_results(
    options: dict[str, Any], records: Path, tmp_path: Path
) -> None:
    found = iclprobe.compare(data=records / "train.jsonl", **options, out=tmp_path / "run")
    said = f"{records / 'train.jsonl'} was split: 12 records to draw demonstrations from, 12 to ask"
    assert said.replace(" ", "") in "".join(found.table().split())
    (notes,) = iclprobe.load_study(tmp_path / "run").tables["draws"]["record_notes"]
    assert json.loads(notes) == [said]


def test_what_a_task_in_memory_decides_itself_is_said(options: dict[str, Any], records: Path) -> None:
    config = SubjectConfig(data=str(records), **_subject(options))
    model = iclprobe.load_model(options["model"], device="cpu")
    task = load_subject(config, model).task
    with pytest.warns(UserWarning, match="in memory has its own data, template, label_words, so"):
        load_subject(config, model, task)


def _subject(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("template", "label_words")}


def test_own_data_beside_a_configuration_is_not_the_default_task() -> None:
    data = [{"text": f"t {index}", "label": index % 4} for index in range(40)]
    config = iclprobe.CompareConfig(shots=(4,), learning_rate=0.03, limit=6)
    with pytest.raises(UserError, match="has no template"):
        iclprobe.compare(config, data=data)
