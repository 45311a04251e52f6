"""A sweep on disk: its plan comes back as it was, and how far each cell is can be told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iclprobe.errors import UserError
from iclprobe.study.run_directory import run_directory, write_manifest
from iclprobe.study.sweep_folder import (
    Failure,
    SweepCell,
    SweepFolder,
    is_sweep,
    read_sweep,
    write_sweep,
)


def cell(name: str, **axes: Any) -> SweepCell:
    return SweepCell(name, axes, {"shots": [8], "data": None}, {"a.csv": "0" * 64}, ("m", "z"), "compare")


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    made = SweepFolder(
        tmp_path / "sweep",
        "compare",
        tuple(cell(f"c{n}", seeds=n, rate="auto", limit=None) for n in range(4)),
    )
    write_sweep(made)
    return made


def finish(folder: SweepFolder, name: str) -> None:
    with run_directory(folder.run_directory(name)) as place:
        write_manifest(place, {})


def test_a_plan_comes_back_as_it_was_and_is_not_written_twice(folder: SweepFolder) -> None:
    assert is_sweep(folder.path) and not is_sweep(folder.path.parent)
    assert read_sweep(folder.path) == folder
    before = (folder.path / "plan.json").stat()
    write_sweep(folder)
    assert (folder.path / "plan.json").stat() == before
    write_sweep(replace(folder, cells=folder.cells[:2]))
    assert read_sweep(folder.path).cells == folder.cells[:2]


def test_a_sweep_of_another_analysis_is_not_replaced(folder: SweepFolder) -> None:
    with pytest.raises(UserError, match=r"holds a sweep of 'compare', not of order: choose another --out"):
        write_sweep(replace(folder, analysis="order"))
    assert read_sweep(folder.path) == folder


def test_states_are_told(folder: SweepFolder) -> None:
    finish(folder, "c0")
    folder.note_failure(Failure("c1", {"seeds": 1}, "it broke"))
    with folder.leases().claimed("c2") as held:
        assert held
        assert folder.states() == {"c0": "done", "c1": "failed", "c2": "running", "c3": "missing"}
        assert list(folder.held()) == ["c2"]
    assert folder.states()["c2"] == "missing"
    finish(folder, "c1")
    assert folder.states()["c1"] == "done"


def test_a_failure_comes_back_until_it_is_forgotten(folder: SweepFolder) -> None:
    failure = Failure("c1", {"seeds": 1}, "it broke", "Traceback …")
    folder.note_failure(failure)
    assert folder.failure("c1") == failure and folder.failure("c2") is None
    folder.forget_failure("c1")
    folder.forget_failure("c1")
    assert folder.failure("c1") is None and not folder.has_failed("c1")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "c1"}', '{"id": 1, "what": 2}'])
def test_a_damaged_failure_is_named(text: str, folder: SweepFolder) -> None:
    (folder.path / "failed" / "c1.json").write_text(text)
    with pytest.raises(UserError, match=r"c1\.json' cannot be read: remove it"):
        folder.failure("c1")


def damaged(change: Any) -> Any:
    def do(content: dict[str, Any]) -> Any:
        change(content)
        return content

    return do


DAMAGES: dict[str, Any] = {
    "no cells": damaged(lambda plan: plan.pop("cells")),
    "no format": damaged(lambda plan: plan.pop("format")),
    "cells are a number": damaged(lambda plan: plan.update(cells=3)),
    "a cell is a text": damaged(lambda plan: plan.update(cells=["c0"])),
    "axes are a list": damaged(lambda plan: plan["cells"][0].update(axes=[1])),
    "an id above": damaged(lambda plan: plan["cells"][0].update(id="../../thesis")),
    "an absolute id": damaged(lambda plan: plan["cells"][0].update(id="/etc/passwd")),
    "an empty id": damaged(lambda plan: plan["cells"][0].update(id="")),
    "an id of dots": damaged(lambda plan: plan["cells"][0].update(id="..")),
    "an id with a NUL": damaged(lambda plan: plan["cells"][0].update(id="a\0b")),
    "a list": lambda plan: [plan],
    "a text": lambda plan: "plan",
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_plan_is_told_and_what_to_do_helps(name: str, folder: SweepFolder) -> None:
    path = folder.path / "plan.json"
    path.write_text(json.dumps(DAMAGES[name](json.loads(path.read_text()))))
    for use in (read_sweep, lambda place: write_sweep(replace(folder, path=place))):
        with pytest.raises(UserError, match=r"plan\.json' is damaged .*: remove it, and run the sweep again"):
            use(folder.path)
    path.unlink()
    write_sweep(folder)
    assert read_sweep(folder.path) == folder


def test_another_format_is_named(folder: SweepFolder) -> None:
    path = folder.path / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(UserError, match="is in format 2 and not 1: choose another --out"):
        read_sweep(folder.path)
    with pytest.raises(UserError, match="is no sweep"):
        read_sweep(folder.path / "cells")


def test_a_plan_tells_nothing_twice_of_what_was_not_finished(folder: SweepFolder) -> None:
    """What is half there is not believed: a run directory has its name only when it is whole."""
    (folder.run_directory("c0")).mkdir()
    assert folder.states()["c0"] == "missing" and not folder.is_done("c0")


def test_what_nobody_needs_is_tidied_away_and_nothing_else(folder: SweepFolder) -> None:
    leases = folder.path / "leases"
    said = json.dumps({"process": 1, "machine": "elsewhere", "boot": "another"})
    finish(folder, "c0")
    folder.note_failure(Failure("c1", {}, "it broke"))
    for name in ("c0", "c1", "c2"):
        (leases / f"{name}.1.lease").write_text(said)
    with folder.leases().claimed("c3"):
        folder.tidy()
        # Another machine may be trying again what failed.
        assert {path.name for path in leases.iterdir()} == {"c1.1.lease", "c2.1.lease", "c3.1.lease"}
    assert folder.failure("c1") is not None and folder.is_done("c0")
