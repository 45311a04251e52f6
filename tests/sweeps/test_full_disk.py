"""A disk that is full or may only be read stops a sweep with a sentence, and loses nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sweep_files import assert_same, contents, files_of, sentence

import iclprobe
from iclprobe.cli import main
from iclprobe.study.sweep_folder import read_sweep
from iclprobe.sweeps.sweep import sweep


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    made = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)]
    if not hasattr(os, "geteuid") or os.geteuid() or subprocess.run(made, capture_output=True).returncode:
        pytest.skip("only root mounts a disk of its own")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, left: int) -> Path:
    """Fill a disk but for some bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        file.truncate(max(0, ballast.stat().st_size - left))
    return ballast


def half(study: Path, out: Path) -> dict[str, Any]:
    """Compute half of a sweep and return what is there."""
    sweep(study, out=out, shard=(1, 2))
    return contents(out)


@pytest.mark.parametrize("left", [0, 4096, 3 * 4096, 8 * 4096, 16 * 4096])
def test_a_full_disk_is_one_sentence_and_the_sweep_goes_on_when_there_is_room(
    left: int, disk: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = tmp_path / "tiny.yaml", disk / "sweep"
    before = half(study, out)
    ballast = fill(disk, left)
    assert main(["sweep", str(study), "--out", str(out), "-q"]) == 2
    assert "the disk is full" in sentence(capsys.readouterr().err)
    now = contents(out)
    assert {name: now[name] for name in before} == before
    folder = read_sweep(out)
    assert all(
        iclprobe.load_study(folder.run_directory(cell.id)) for cell in folder.cells if folder.is_done(cell.id)
    )
    assert "failed" not in folder.states().values() and not list((out / "leases").iterdir())
    assert not [name for name in files_of(out) if "unfinished" in name]
    ballast.unlink()
    assert main(["sweep", str(study), "--out", str(out), "-q"]) == 0
    assert_same(out, whole)


def test_a_disk_that_is_full_from_the_beginning_is_one_sentence(
    disk: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ballast = fill(disk, 0)
    assert main(["sweep", str(tmp_path / "tiny.yaml"), "--out", str(disk / "sweep"), "-q"]) == 2
    assert "the disk is full" in sentence(capsys.readouterr().err)
    ballast.unlink()
    assert main(["sweep", str(tmp_path / "tiny.yaml"), "--out", str(disk / "sweep"), "-q"]) == 0
    assert_same(disk / "sweep", whole)


def test_a_limit_on_file_sizes_loses_nothing(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource")
    study, out = tmp_path / "tiny.yaml", tmp_path / "limited"
    before = half(study, out)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        assert main(["sweep", str(study), "--out", str(out), "-q"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "limit on file sizes" in sentence(capsys.readouterr().err)
    assert contents(out) == before and not list((out / "leases").iterdir())
    assert main(["sweep", str(study), "--out", str(out), "-q"]) == 0
    assert_same(out, whole)


def _remounted(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True, capture_output=True)


@pytest.mark.parametrize("begun", [True, False])
def test_a_disk_that_may_only_be_read_is_one_sentence(
    begun: bool, disk: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = tmp_path / "tiny.yaml", disk / "sweep"
    before = half(study, out) if begun else {}
    _remounted(disk, "ro")
    try:
        assert main(["sweep", str(study), "--out", str(out), "-q"]) == 2
        assert "not permitted" in sentence(capsys.readouterr().err)
        assert contents(out) == before
        if begun:
            assert set(read_sweep(out).states().values()) == {"done", "missing"}
    finally:
        _remounted(disk, "rw")
    assert main(["sweep", str(study), "--out", str(out), "-q"]) == 0
    assert_same(out, whole)


def test_a_finished_sweep_that_may_only_be_read_is_looked_at(
    disk: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = tmp_path / "tiny.yaml", disk / "sweep"
    sweep(study, out=out)
    _remounted(disk, "ro")
    try:
        assert main(["sweep", str(study), "--out", str(out), "-q"]) == 0
        assert "0 computed, 12 kept" in capsys.readouterr().out
    finally:
        _remounted(disk, "rw")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_one_sentence(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = tmp_path / "tiny.yaml", tmp_path / "closed"
    before = half(study, out)
    folders = [out, *(path for path in out.iterdir() if path.is_dir())]
    for path in folders:
        path.chmod(0o500)
    try:
        assert main(["sweep", str(study), "--out", str(out), "-q"]) == 2
    finally:
        for path in folders:
            path.chmod(0o700)
    assert "not permitted" in sentence(capsys.readouterr().err) and contents(out) == before
    assert main(["sweep", str(study), "--out", str(out), "-q"]) == 0
    assert_same(out, whole)
