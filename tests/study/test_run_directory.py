"""A run directory is complete or not there at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from iclprobe.analyses.comparison.config import CompareConfig
from iclprobe.errors import UserError
from iclprobe.hooks.storage import allocate_in_file
from iclprobe.study.run_directory import (
    free_run_name,
    is_complete,
    run_directory,
    write_manifest,
)


def finished(path: Path, text: str = "old") -> Path:
    with run_directory(path) as folder:
        (folder / "table.txt").write_text(text)
        write_manifest(folder, {})
    return path


def test_the_folder_appears_only_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "one"
    with run_directory(target) as folder:
        assert folder.parent == target.parent
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text("a")
        write_manifest(folder, {"seed": 0})
        assert not target.exists()
    assert is_complete(target)
    manifest = json.loads((target / "manifest.json").read_text())
    assert manifest == {"seed": 0, "files": {"sub/a.txt": 1}, "complete": True}
    assert [entry.name for entry in target.parent.iterdir()] == ["one"]


@pytest.mark.parametrize("error", [RuntimeError("model"), KeyboardInterrupt(), UserError("bad input")])
def test_an_error_leaves_nothing_and_passes_unchanged(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, run_directory(tmp_path / "one") as folder:
        (folder / "manifest.json").write_text("{}")
        raise error
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_may_become_the_run_directory(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    assert is_complete(finished(tmp_path / "one"))


def test_a_finished_run_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = finished(tmp_path / "one")
    with pytest.raises(UserError, match=r"one' holds a finished run: choose another --out.*--overwrite"):
        finished(target)
    with run_directory(target, overwrite=True) as folder:
        assert (target / "table.txt").read_text() == "old"
        (folder / "table.txt").write_text("new")
    assert (target / "table.txt").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["one"]


def test_a_failed_replacement_keeps_the_old_run(tmp_path: Path) -> None:
    target = finished(tmp_path / "one")
    with pytest.raises(RuntimeError), run_directory(target, overwrite=True):
        raise RuntimeError
    assert is_complete(target)
    assert [entry.name for entry in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("manifest", [None, "", "{", "[]", '{"complete": false}', '{"complete": "yes"}'])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_half_written_or_foreign_folder_is_refused_and_never_deleted(
    tmp_path: Path, manifest: str | None, overwrite: bool
) -> None:
    target = tmp_path / "one"
    target.mkdir()
    (target / "thesis.tex").write_text("years of work")
    if manifest is not None:
        (target / "manifest.json").write_text(manifest)
    with (
        pytest.raises(UserError, match="no finished run directory"),
        run_directory(target, overwrite=overwrite),
    ):
        pytest.fail("the work must not start")
    assert (target / "thesis.tex").read_text() == "years of work"


def test_a_folder_that_fills_up_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "one"
    with pytest.raises(UserError, match="no finished run directory"), run_directory(target):
        target.mkdir()
        (target / "other").write_text("somebody else's")
    assert [entry.name for entry in target.iterdir()] == ["other"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("a file")
    with pytest.raises(UserError, match="one' is a file"), run_directory(tmp_path / "one"):
        pass
    with (
        pytest.raises(UserError, match=r"one.* no folder can be there"),
        run_directory(tmp_path / "one" / "two"),
    ):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="the disk is full") as caught,
        run_directory(tmp_path / "one"),
        Path("/dev/full").open("w") as file,
    ):
        file.write("x" * 10)
        file.flush()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda folder: (folder / "a.csv").write_text("x" * 10**6),
    "safetensors": lambda folder: save_file({"a": torch.zeros(10**6)}, folder / "a.safetensors"),
    "capture": lambda folder: allocate_in_file(folder / "a", {"a": ((10**6,), torch.float32)}, {}),
}


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """Let no file grow beyond 10 kB, which fails as a full disk does and needs no disk to fill."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files_only")
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_limit_on_file_sizes_leaves_nothing_whoever_writes(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    with (
        pytest.raises(UserError, match="the disk is full or a limit on file sizes is reached"),
        run_directory(tmp_path / "one") as folder,
    ):
        write(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="not permitted"), run_directory(tmp_path / "one"):
        pass
    tmp_path.chmod(0o700)


def test_a_refused_permission_inside_the_run_directory_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"one': it is not permitted"),
        run_directory(tmp_path / "one") as folder,
    ):
        raise PermissionError(errno.EACCES, "no", str(folder / "a.csv"))
    with pytest.raises(PermissionError), run_directory(tmp_path / "one"):
        raise PermissionError(errno.EACCES, "no", "/somewhere/else")


def test_the_default_name_says_what_was_run_and_is_free(tmp_path: Path) -> None:
    config = CompareConfig(model="../models/My Model:1/", task="sst2", shots=(4,), seeds=(0,))
    assert free_run_name(*config.run_name, parent=tmp_path) == "compare-My-Model-1-sst2-4shots-seed0"
    for expected in ("compare-My-Model-1-sst2-4shots-seed0", "compare-My-Model-1-sst2-4shots-seed0-2"):
        name = free_run_name(*config.run_name, parent=tmp_path)
        assert name == expected
        (tmp_path / name).mkdir()
    assert free_run_name(*config.run_name, parent=tmp_path).endswith("-seed0-3")
    several = CompareConfig(model="a/" + "b" * 300, task="sst2", seeds=(0, 2))
    name = free_run_name(*several.run_name, parent=tmp_path)
    assert name.endswith("-8shots-seeds0-2")
    assert len(name) < 255
