"""A bundle holds what people read of each finished run, and nothing that links lead to."""

from __future__ import annotations

import json
from pathlib import Path

import made_run_directories
import pytest

from iclprobe.cli import main


def data_of(page: Path) -> dict:
    return json.loads(page.read_text().split('id="data">')[1].split("</script>")[0])


def test_a_bundle_is_the_index_with_the_runs_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_run_directories.write_run(tmp_path / "runs" / "one")
    made_run_directories.write_copies(tmp_path / "runs" / "one", tmp_path / "runs" / "more", 2)
    (tmp_path / "secret.csv").write_text("outside")
    (tmp_path / "runs" / "one" / "link.csv").symlink_to(tmp_path / "secret.csv")
    (tmp_path / "runs" / "more" / "group1" / "run1" / "manifest.json").write_text("{")
    assert main(["bundle", str(tmp_path / "runs"), str(tmp_path / "out")]) == 0
    assert "index.html" in capsys.readouterr().out
    data = data_of(tmp_path / "out" / "index.html")
    states = {run["path"]: run["state"] for run in data["runs"]}
    assert states == {"one": "finished", "more/group0/run0": "finished", "more/group1/run1": "broken"}
    assert set(data["settings"]) == {"one", "more/group0/run0"}
    assert data["settings"]["one"]["analysis"] == "sparsity"
    files = {path.name for path in (tmp_path / "out" / "files" / "one").iterdir()}
    assert {"table.txt", "config.yaml", "findings.csv", "manifest.json"} <= files
    assert "link.csv" not in files and "tables" not in files


def test_a_run_directory_itself_can_be_bundled(tmp_path: Path) -> None:
    made_run_directories.write_run(tmp_path / "one")
    assert main(["bundle", str(tmp_path / "one"), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "files" / "table.txt").is_file()
    assert [run["path"] for run in data_of(tmp_path / "out" / "index.html")["runs"]] == ["."]


@pytest.mark.parametrize("taken", [False, True])
def test_nothing_to_bundle_or_no_room_is_one_sentence(
    tmp_path: Path, taken: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    if taken:
        made_run_directories.write_run(tmp_path / "runs" / "one")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")
    assert main(["bundle", str(tmp_path / "runs"), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("iclprobe: ")
    assert not taken or (tmp_path / "out" / "mine.txt").read_text() == "mine"
