"""A sweep computes each cell once: again, beside itself and in parts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tiny_analysis
from forked_commands import Commands
from sweep_files import assert_same, computed_in, contents, files_of, sentence, tiny_study, write_study

from iclprobe.cli import main
from iclprobe.errors import UserError
from iclprobe.study.sweep_folder import read_sweep
from iclprobe.sweeps.sweep import sweep

PATIENCE = 120


def test_what_is_there_is_kept(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert main(["sweep", str(tmp_path / "tiny.yaml"), "--out", str(whole)]) == 0
    said = capsys.readouterr()
    assert said.out == "12 cells of tiny: 0 computed, 12 kept\n"
    assert "12 cells of tiny: 0 to compute" in said.err
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()} == {
        path: time for path, time in before.items() if path.is_file()
    }


def test_a_sweep_that_grows_computes_what_is_new(whole: Path, tmp_path: Path) -> None:
    result = sweep(tiny_study(tmp_path, seeds=8), out=whole)
    assert (result.computed, result.kept) == (4, 12)
    smaller = sweep(tiny_study(tmp_path, seeds=2), out=whole)
    assert (smaller.computed, smaller.kept, len(read_sweep(whole).cells)) == (0, 4, 4)


def test_two_processes_compute_no_cell_twice(whole: Path, commands: Commands, tmp_path: Path) -> None:
    argv = ["sweep", str(tiny_study(tmp_path, pause=0.1)), "--out", str(tmp_path / "both")]
    names = ("one", "other")
    processes = [commands.begin(argv, tmp_path, PATIENCE, name) for name in names]
    ended = [commands.end(process, name) for process, name in zip(processes, names, strict=True)]
    assert [each.code for each in ended] == [0, 0], ended
    counts = [len(computed_in(each.err)) for each in ended]
    assert sum(counts) == 12 and min(counts) > 0, ended
    cells = [line.split("] ")[1].split(":")[0] for each in ended for line in computed_in(each.err)]
    assert len(set(cells)) == 12
    alone = commands.run([*argv[:-1], str(tmp_path / "alone")], tmp_path, PATIENCE)
    assert alone.code == 0
    assert_same(tmp_path / "both", tmp_path / "alone")


@pytest.mark.slow
def test_processes_beside_each_other_compute_no_cell_twice(tmp_path: Path, checkpoint: Path) -> None:
    study = write_study(
        tmp_path / "study.yaml",
        "sparsity",
        {"model": [str(checkpoint), "pocket-mini"], "stable_rank": [True, False]},
    )
    argv = ["sweep", str(study), "--out"]
    command = [sys.executable, "-m", "iclprobe", *argv]
    told = subprocess.run(
        [*command, str(tmp_path / "two"), "--workers", "2"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert told.returncode == 0, told
    assert len(computed_in(told.stderr)) == 4 and "4 cells of sparsity: 4 computed, 0 kept" in told.stdout
    assert main([*argv, str(tmp_path / "one"), "-q"]) == 0
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    numbers, alone = contents(tmp_path / "two"), contents(tmp_path / "one")
    assert {name for name in alone if numbers[name] != alone[name] and not name.endswith(".png")} == set()


@pytest.mark.slow
def test_processes_are_given_an_analysis_of_ones_own_and_say_nothing_unasked(
    whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = sweep(tmp_path / "tiny.yaml", out=tmp_path / "two", workers=2)
    assert (result.computed, result.failures) == (12, ())
    assert capfd.readouterr().err == ""
    assert_same(tmp_path / "two", whole)


def test_an_analysis_that_other_processes_cannot_be_given_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from iclprobe.study import analysis as registry

    own = replace(tiny_analysis.TINY, measure=lambda *_: None)
    monkeypatch.setitem(registry._REGISTERED, "tiny", own)
    with pytest.raises(UserError, match="tiny cannot be given to other processes"):
        sweep(tiny_study(tmp_path), out=tmp_path / "two", workers=2)


def test_parts_are_disjoint_and_make_all(whole: Path, tmp_path: Path) -> None:
    study, out, seen = tmp_path / "tiny.yaml", tmp_path / "parts", set()
    for part in (1, 2, 3):
        result = sweep(study, out=out, shard=(part, 3))
        new = {cell.id for cell in result.folder.cells if result.folder.is_done(cell.id)} - seen
        assert result.computed == len(new) == 4 and result.kept == len(seen)
        seen |= new
        assert result.missing == 12 - len(seen)
    assert_same(out, whole)
    more = [sweep(study, out=tmp_path / "many", shard=(part, 40)).computed for part in range(1, 41)]
    assert sum(more) == 12 and max(more) == 1


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/4"])
def test_a_part_that_there_is_not_is_refused(
    part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tiny_study(tmp_path)
    assert main(["sweep", str(study), "--out", str(tmp_path / "out"), f"--shard={part}"]) == 2
    assert "part" in sentence(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_copy_without_empty_folders_goes_on(whole: Path, tmp_path: Path) -> None:
    for name in ("failed", "leases"):
        (whole / name).rmdir()
    assert sweep(tiny_study(tmp_path, seeds=7), out=whole).computed == 2
