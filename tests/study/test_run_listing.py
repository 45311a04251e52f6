"""What lies below a folder is told apart, and nothing there is touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import made_run_directories
import pytest

import iclprobe
from iclprobe.errors import UserError
from iclprobe.study.run_listing import RunEntry, list_runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    made_run_directories.write_run(folder)
    return folder


def by_path(folder: Path) -> dict[str, RunEntry]:
    return {entry.path: entry for entry in list_runs(folder)}


def everything(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def test_a_finished_run_says_what_its_study_says(run: Path) -> None:
    entry = by_path(run.parent)["one"]
    study = iclprobe.load_study(run)
    assert (entry.state, entry.analysis, entry.model, entry.page) == ("finished", "sparsity", "pocket", True)
    assert entry.date == study.provenance["date_utc"]
    found = [finding for finding in study.findings if finding.kind == "result"]
    assert len(entry.measures) == len(found) > 10
    for (name, value, low, high, unit), finding in zip(entry.measures, found, strict=True):
        assert name.startswith(finding.name)
        assert all(f"{key} {told}" in name for key, told in finding.where.items())
        assert (value, unit) == (finding.value, finding.unit)
        assert (low, high) == (None, None) and finding.low != finding.low


def test_running_killed_and_foreign_runs_are_told_apart_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    with (
        made_run_directories.being_written(tmp_path / "deep" / "busy"),
        made_run_directories.being_written(tmp_path / "dead") as dead,
    ):
        dead.kill()
        dead.wait()
        lock = next((tmp_path / "deep").glob(".busy.*.lock"))
        foreign = lock.with_name(lock.name.replace("busy", "far"))
        foreign.write_text(json.dumps({**json.loads(lock.read_text()), "machine": "elsewhere"}))
        before = everything(tmp_path)
        found = by_path(tmp_path)
        assert everything(tmp_path) == before
        assert {path: entry.state for path, entry in found.items()} == {
            "deep/busy": "running",
            "dead": "broken",
            "deep/far": "unknown",
        }
        assert "elsewhere" in found["deep/far"].note
        # Looking does not take the lock away: the run still holds it.
        assert by_path(tmp_path)["deep/busy"].state == "running"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("manifest.json", "{"),
        ("manifest.json", '{"complete": true, "format": 99, "analysis": "x", "provenance": {}}'),
        ("manifest.json", '{"complete": false}'),
        ("findings.csv", "kind,name\nresult,x\n"),
        ("findings.csv", None),
    ],
)
def test_a_damaged_run_is_broken_and_hides_no_other(
    run: Path, tmp_path: Path, file: str, text: str | None
) -> None:
    made_run_directories.write_copies(run, tmp_path, 2)
    damaged = tmp_path / "group0" / "run0" / file
    damaged.unlink() if text is None else damaged.write_text(text)
    found = by_path(tmp_path)
    assert found["group0/run0"].state == "broken" and found["group0/run0"].note
    assert found["group1/run1"].state == "finished"


def test_a_measure_that_is_no_number_is_a_damaged_run(run: Path, tmp_path: Path) -> None:
    made_run_directories.write_copies(run, tmp_path, 1)
    place = tmp_path / "group0" / "run0" / "findings.csv"
    lines = place.read_text().splitlines()
    lines[1] = lines[1].replace(",0.0,", ",many,", 1)
    place.write_text("\n".join(lines))
    assert by_path(tmp_path)["group0/run0"].state == "broken"


def test_parts_hidden_folders_and_links_are_no_runs(run: Path, tmp_path: Path) -> None:
    made_run_directories.write_copies(run, tmp_path / "studies", 1)
    made_run_directories.write_copies(run, tmp_path / ".hidden", 1)
    (tmp_path / "link").symlink_to(run)
    assert list_runs(tmp_path) == []


def test_the_newest_stands_first(run: Path, tmp_path: Path) -> None:
    made_run_directories.write_copies(run, tmp_path, 70)
    assert [entry.path for entry in list_runs(tmp_path)][:2] == ["group9/run69", "group8/run68"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0)
    assert by_path(tmp_path)["shut"].state == "broken"


def test_no_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        list_runs(tmp_path / "nowhere")
