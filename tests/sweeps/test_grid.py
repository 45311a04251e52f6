"""A grid is every combination of its axes' points; what cannot be one is told in a sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml
from sweep_files import all_texts, sentence

from iclprobe.cli import main
from iclprobe.errors import UserError
from iclprobe.sweeps.config import SweepConfig
from iclprobe.sweeps.grid import grid_cells
from iclprobe.sweeps.sweep import read_study, sweep

FILE = {"file": "nowhere.txt"}


def cells(**fields: Any) -> list[dict[str, Any]]:
    return [dict(cell.axes) for cell in grid_cells(SweepConfig(analysis="tiny", fixed=FILE, **fields))]


def test_the_last_axis_varies_fastest() -> None:
    assert cells(axes={"scale": [1, 2], "rate": ["auto", 0.1, None]}) == [
        {"scale": scale, "rate": rate} for scale in (1, 2) for rate in ("auto", 0.1, None)
    ]
    assert cells() == [{}]


def test_excluded_cells_are_left_out() -> None:
    axes = {"scale": [1, 2, 3], "rate": [0.1, "auto"]}
    found = cells(axes=axes, exclude=[{"scale": 1}, {"scale": [2, 3], "rate": "auto"}])
    assert found == [{"scale": 2, "rate": 0.1}, {"scale": 3, "rate": 0.1}]


def test_named_points_set_several_fields() -> None:
    axes = {"dataset": {"small": {"scale": 1, "seeds": [1, 2]}, "large": {"scale": 9}}, "rate": [0.1]}
    found = grid_cells(SweepConfig(analysis="tiny", fixed=FILE, axes=axes))
    assert [(cell.axes["dataset"], cell.config.scale, cell.config.seeds) for cell in found] == [  # pyright: ignore[reportAttributeAccessIssue]
        ("small", 1, (1, 2)),
        ("large", 9, (0,)),
    ]
    tasks = {
        "tone": {"task": "pocket-tone"},
        "own": {"task": "own", "data": "records.csv", "label_words": ["a", "b"]},
    }
    asked = SweepConfig(analysis="compare", axes={"dataset": tasks})
    configs = [cell.config for cell in grid_cells(asked)]
    assert [config.task for config in configs] == ["pocket-tone", "own"]  # pyright: ignore[reportAttributeAccessIssue]


def test_points_are_called_as_people_read_them() -> None:
    recipes = ["dai", {"preset": "dai", "name": "mine"}, ["dai", "shen"], {"preset": "dai"}]
    found = grid_cells(SweepConfig(analysis="compare", axes={"recipes": recipes}))
    assert [cell.axes["recipes"] for cell in found] == ["dai", "mine", "dai, shen", "number 4"]


LONG = "x" * 200
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": ({"analysis": "tiny", "axis": {}}, "unknown key 'axis': did you mean axes"),
    "an unknown key of resources": (
        {"analysis": "tiny", "resources": {"gpu": 1}},
        "unknown key 'resources.gpu'",
    ),
    "no analysis": ({"axes": {}}, "no analysis"),
    "an unknown analysis": ({"analysis": "compair"}, "no analysis 'compair': there are"),
    "an unknown field": ({"fixed": {**FILE, "sclae": 1}}, "unknown key 'sclae': did you mean scale"),
    "an unknown field of an axis": (
        {"fixed": FILE, "axes": {"sclae": [1]}},
        "the cell at sclae 1: .*unknown key",
    ),
    "an impossible value": (
        {"fixed": FILE, "axes": {"scale": [1, "many"]}},
        "the cell at scale many: .*scale",
    ),
    "a field that is missing": ({"axes": {"scale": [1]}}, "tiny has no file: give it"),
    "an axis without points": ({"fixed": FILE, "axes": {"scale": []}}, "axes.scale"),
    "an axis that is a number": ({"fixed": FILE, "axes": {"scale": 1}}, "axes.scale"),
    "an axis called cell": ({"fixed": FILE, "axes": {"cell": {"a": {"scale": 1}}}}, "'cell' is a column"),
    "an axis called state": ({"fixed": FILE, "axes": {"state": {"a": {"scale": 1}}}}, "'state' is a column"),
    "a point twice": ({"fixed": FILE, "axes": {"scale": [1, 2, 1]}}, "the axis 'scale' holds 1 twice"),
    "a point twice as text": ({"fixed": FILE, "axes": {"rate": ["1", 1]}}, "the axis 'rate' holds 1 twice"),
    "a field set twice": (
        {"fixed": {**FILE, "scale": 1}, "axes": {"scale": [1]}},
        "set by fixed and by the axis",
    ),
    "a field set by two axes": (
        {"fixed": FILE, "axes": {"scale": [1], "size": {"big": {"scale": 9}}}},
        "'scale' is set by the axis 'scale' and by the axis 'size'",
    ),
    "an unknown axis in exclude": (
        {"fixed": FILE, "axes": {"scale": [1]}, "exclude": [{"size": 1}]},
        "is no axis",
    ),
    "an axis in exclude where is none": ({"fixed": FILE, "exclude": [{"size": 1}]}, "is no axis"),
    "an unknown point in exclude": (
        {"fixed": FILE, "axes": {"scale": [1, 2]}, "exclude": [{"scale": 3}]},
        "scale 3, where are 1, 2",
    ),
    "a mapping in exclude": (
        {"fixed": FILE, "axes": {"scale": [1]}, "exclude": [{"scale": {"a": 1}}]},
        "name one of them",
    ),
    "a list of lists in exclude": (
        {"fixed": FILE, "axes": {"scale": [1]}, "exclude": [{"scale": [[1]]}]},
        "name one of them",
    ),
    "nothing left": ({"fixed": FILE, "axes": {"scale": [1]}, "exclude": [{"scale": 1}]}, "every cell"),
    "too many cells": (
        {"fixed": FILE, "axes": {name: list(range(400)) for name in ("scale", "rate")}},
        "more than 100,000 cells",
    ),
    "a secret": (
        {
            "analysis": "compare",
            "fixed": {"data": "https://me:hunter2@host/a.csv", "label_words": ["a", "b"]},
        },
        "holds a secret",
    ),
    "a long axis in exclude": (
        {"fixed": FILE, "axes": {f"{LONG}{n}": {"a": {}} for n in range(9)}, "exclude": [{LONG: 1}]},
        "is no axis",
    ),
    "long names of points": (
        {"fixed": FILE, "axes": {"a b " * 30: {f"{LONG} {LONG}": {"sclae": LONG}}}},
        "unknown key 'sclae'",
    ),
    "a long point twice": ({"fixed": FILE, "axes": {"a b " * 60: [LONG, LONG]}}, "twice"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_grid_is_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields, said = REFUSED[name]
    asked = fields if "analysis" in fields or name == "no analysis" else {"analysis": "tiny", **fields}
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(asked, sort_keys=False))
    for more in ([], ["--dry-run"]):
        assert main(["sweep", str(study), "--out", str(tmp_path / "out"), *more]) == 2
        told = sentence(capsys.readouterr().err)
        assert re.search(said, told), told
        assert "hunter2" not in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "data",
    [
        [{"text": "a", "label": 0}],
        pandas.DataFrame({"text": ["a", "b"], "label": [0, 1]}),
        {"train": [{"text": "a", "label": 0}], "validation": [{"text": "b", "label": 1}]},
    ],
    ids=["records", "frame", "parts"],
)
def test_records_in_memory_are_refused(data: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no other process finds them: write them into a file"):
        sweep(analysis="compare", fixed={"data": data, "label_words": ["a", "b"]}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_out_where_no_sweep_can_be_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "numbers.txt").write_text("numbers")
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump({"analysis": "tiny", "fixed": {"file": str(tmp_path / "numbers.txt")}}))
    for out in (str(study), str(study / "below"), "https://me:hunter2@host/out"):
        assert main(["sweep", str(study), "--out", out]) == 2
        assert "--out" in (told := sentence(capsys.readouterr().err)) and "hunter2" not in told
    assert main(["sweep", str(tmp_path / "nothing.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "no file" in sentence(capsys.readouterr().err)
    assert not any("hunter2" in text for text in all_texts(tmp_path))


def test_fields_stand_over_those_of_a_file(tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump({"analysis": "tiny", "fixed": FILE, "axes": {"scale": [1, 2]}}))
    assert read_study(study, {"axes": {"scale": [3]}}).axes == {"scale": [3]}
    assert read_study(SweepConfig(analysis="tiny", fixed=FILE)).fixed == FILE
    with pytest.raises(UserError, match="has no analysis"):
        read_study(None, {})
