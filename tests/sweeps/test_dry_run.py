"""A look at a sweep says what is there and what is to come, and writes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sweep_files import SMALL, files_of, tiny_study, write_study

from iclprobe.cli import main
from iclprobe.study.sweep_folder import Failure, read_sweep
from iclprobe.sweeps.dry_run import dry_run
from iclprobe.sweeps.sweep import sweep


def look(study: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    before = {path: path.stat().st_mtime_ns for path in out.parent.rglob("*")}
    assert main(["sweep", str(study), "--out", str(out), "--dry-run"]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.parent.rglob("*")} == before
    # The table is as wide as a terminal.
    return " ".join(capsys.readouterr().out.split())


def test_an_analysis_without_an_estimate_says_so_and_takes_the_mean_of_what_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = tiny_study(tmp_path, pause=0.5), tmp_path / "sweep"
    said = look(study, out, capsys)
    assert "0 of 12 cells are done; what the others take is known when one of them is" in said
    assert said.count("missing") == 12 and not out.exists()
    sweep(study, out=out, shard=(1, 4))
    folder = read_sweep(out)
    last = folder.cells[-1]
    folder.note_failure(Failure(last.id, last.axes, "it broke"))
    with folder.leases().claimed(folder.cells[-2].id):
        said = look(study, out, capsys)
        found = dry_run(study, out)
    states = list(found.states.values())
    assert {state: states.count(state) for state in set(states)} == {
        "done": 3,
        "failed": 1,
        "running": 1,
        "missing": 7,
    }
    assert all(re.search(rf"{cell} .*? {state} ", said) for cell, state in found.states.items())
    assert len(found.needed) == 9 and len(set(map(id, found.needed.values()))) == 1
    (needed,) = {repr(each): each for each in found.needed.values()}.values()
    assert 0.5 <= needed.seconds < 5 and needed.disk_bytes > 16_000
    assert re.search(
        r"3 of 12 cells are done; the others take about \d+ s one after another, .* of disk", said
    )
    sweep(study, out=out, retry_failed=True)
    assert "12 of 12 cells are done" in look(study, out, capsys)


@pytest.mark.slow
def test_a_comparison_is_estimated_before_anything_ran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from iclprobe.analyses.comparison import needed

    asked = []
    estimate = needed.estimate_draw
    monkeypatch.setattr(needed, "estimate_draw", lambda *a: asked.append(a) or estimate(*a))
    axes = {"model": ["pocket-mini", "pocket-small"], "shots": [2, 4], "seeds": [[0], [1], [2]]}
    study = write_study(tmp_path / "study.yaml", "compare", axes, fixed=SMALL)
    said = look(study, tmp_path / "sweep", capsys)
    assert len(asked) == 4, "draws of one group take as long as each other"
    assert re.search(
        r"0 of 12 cells are done; the others take about .* of disk and at most .* of memory", said
    )
    assert files_of(tmp_path) == {"study.yaml"}


def test_a_folder_that_holds_nothing_of_a_sweep_is_no_sweep(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    found = dry_run(tiny_study(tmp_path), tmp_path / "out")
    assert set(found.states.values()) == {"missing"}
    assert sweep(tmp_path / "tiny.yaml", out=tmp_path / "out").computed == 12
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"
