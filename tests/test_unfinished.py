"""What a killed run left is told and removed by the next run of the same name, and nothing else ever is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from iclprobe.cli import main
from iclprobe.study.run_directory import is_complete, run_directory, write_manifest
from iclprobe.unfinished import remove_leftovers, replaced_place, unfinished_place

_RUN = """
import sys, time
from pathlib import Path
from iclprobe.unfinished import unfinished_place
with unfinished_place(Path(sys.argv[1])) as place:
    if sys.argv[2] == "folder":
        place.mkdir()
        (place / "table.txt").write_text("half")
    else:
        place.write_text("half")
    print(place, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def begin(processes: list[subprocess.Popen[str]], target: Path, kind: str) -> Path:
    """Begin a run in another process, and return what it writes into."""
    process = subprocess.Popen([sys.executable, "-c", _RUN, target, kind], stdout=subprocess.PIPE, text=True)
    processes.append(process)
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_command_clears_up_what_its_killed_run_left(
    checkpoint: Path, tmp_path: Path, started: list[subprocess.Popen[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sparsity", str(checkpoint), "--out", str(tmp_path / "one")]
    process = subprocess.Popen(
        [sys.executable, "-m", "iclprobe", *command], stdout=subprocess.PIPE, text=True
    )
    started.append(process)
    while not list(tmp_path.glob(".one.unfinished-*/*")) and process.poll() is None:
        time.sleep(0.01)
    kill(process)
    assert process.returncode == -signal.SIGKILL
    left, lock = sorted(path.name for path in tmp_path.iterdir())
    assert lock == f"{left}.lock"
    assert main(command) == 0
    assert f"warning: removed {left!r}, which a killed run left beside" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["one"] and is_complete(tmp_path / "one")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_a_killed_run_left_is_named_and_removed_and_what_a_live_one_writes_is_not(
    kind: str, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    target = tmp_path / "one"
    killed, alive = (begin(started, target, kind) for _ in range(2))
    other = begin(started, tmp_path / "one-2", kind)
    for process in (started[0], started[2]):
        kill(process)
    with pytest.warns(UserWarning, match=f"removed '{killed.name}', which a killed run left") as told:
        remove_leftovers(target)
    assert len(told) == 1 and alive.name not in str(told[0].message)
    lock = f"{alive.name}.lock", f"{other.name}.lock"
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, other.name, *lock}
    with warnings.catch_warnings(), unfinished_place(target) as place:
        warnings.simplefilter("error")
        assert place != alive and not place.exists()
    assert alive.exists() and other.exists()


def test_a_run_directory_and_a_capture_clear_up_before_they_begin(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    from iclprobe.models.delta import Delta

    for name in ("run", "delta.safetensors"):
        begin(started, tmp_path / name, "folder")
    for process in started:
        kill(process)
    with (
        pytest.warns(UserWarning, match=r"removed '\.run\.unfinished-"),
        run_directory(tmp_path / "run") as at,
    ):
        write_manifest(at, {})
    with pytest.warns(UserWarning, match=r"removed '\.delta\.safetensors\.unfinished-"):
        Delta({}).save(tmp_path / "delta.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "delta.safetensors"}


@pytest.mark.parametrize(
    "said", [None, "", "[]", "{}", '{"made_by": "somebody", "process": 1, "machine": "m"}']
)
def test_what_iclprobe_did_not_make_is_never_removed(said: str | None, tmp_path: Path) -> None:
    theirs = tmp_path / ".one.unfinished-12345678"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("years of work")
    if said is not None:
        (tmp_path / f"{theirs.name}.lock").write_text(said)
    with run_directory(tmp_path / "one") as folder:
        write_manifest(folder, {})
    assert (theirs / "thesis.tex").read_text() == "years of work"


def test_a_link_is_removed_and_not_what_it_leads_to(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    place = begin(started, tmp_path / "one", "file")
    kill(started[0])
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a.txt").write_text("a")
    place.unlink()
    place.symlink_to(tmp_path / "precious")
    with pytest.warns(UserWarning, match="removed"):
        remove_leftovers(tmp_path / "one")
    assert (tmp_path / "precious" / "a.txt").exists() and not place.is_symlink()


def test_what_another_machine_began_is_named_and_stays(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    place = begin(started, tmp_path / "one", "folder")
    kill(started[0])
    rewrite(tmp_path / f"{place.name}.lock", machine="elsewhere", process=42)
    with pytest.warns(UserWarning, match=r"begun by process 42 on 'elsewhere'.*remove it if"):
        remove_leftovers(tmp_path / "one")
    assert place.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("kept", ["lock", "folder"])
def test_what_may_not_be_removed_is_named_and_hinders_nobody(
    kept: str, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    place = begin(started, tmp_path / "one", "folder")
    kill(started[0])
    held = tmp_path / f"{place.name}.lock" if kept == "lock" else place
    held.chmod(0o444 if kept == "lock" else 0o555)
    told = pytest.warns(UserWarning, match=r"begun by process \d+ on .*remove it if")
    with told, run_directory(tmp_path / "one") as folder:
        write_manifest(folder, {})
    assert is_complete(tmp_path / "one") and (place / "table.txt").exists()
    held.chmod(0o755)


@pytest.mark.parametrize("is_back", [False, True])
def test_a_run_that_was_being_replaced_comes_back(
    is_back: bool, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    target = tmp_path / "one"
    place = begin(started, target, "folder")
    kill(started[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = replaced_place(place)
        old.mkdir()
        write_manifest(old, {})
        if is_back:
            target.mkdir()
            write_manifest(target, {"new": True})
        remove_leftovers(target)
    assert is_complete(target)
    assert ("new" in json.loads((target / "manifest.json").read_text())) is is_back
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_run_left_that_was_killed_before_it_said_whose_it_is_is_removed(tmp_path: Path) -> None:
    from iclprobe.file_locks import lock_file
    from iclprobe.unfinished import remove_leftovers_in

    empty, held = (tmp_path / f".{name}.unfinished-12345678.lock" for name in ("one", "two"))
    for path in (empty, held):
        path.write_bytes(b"")
    with held.open("r+b") as file:
        assert lock_file(file) == "ours"
        remove_leftovers_in(tmp_path)
        assert list(tmp_path.iterdir()) == [held]
    remove_leftovers(tmp_path / "two")
    assert not list(tmp_path.iterdir())


def test_a_place_whose_lock_was_taken_away_before_it_said_whose_it_is_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iclprobe import unfinished
    from iclprobe.file_locks import lock_file

    taken: list[str] = []

    def beaten(file: BinaryIO) -> str:
        if not taken:
            taken.append(file.name)
            remove_leftovers(tmp_path / "one")
        return lock_file(file)

    monkeypatch.setattr(unfinished, "lock_file", beaten)
    with unfinished_place(tmp_path / "one") as place:
        assert [path.name for path in tmp_path.iterdir()] == [
            f"{place.name}.lock"
        ] and place.name not in taken[0]
    assert not list(tmp_path.iterdir())


def test_everything_that_killed_runs_left_in_a_folder_is_removed(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    from iclprobe.unfinished import remove_leftovers_in

    killed = [begin(started, tmp_path / name, kind) for name, kind in (("one", "folder"), ("two", "file"))]
    alive = begin(started, tmp_path / "one", "folder")
    for process in started[:2]:
        kill(process)
    with pytest.warns(UserWarning, match="which a killed run left") as told:
        remove_leftovers_in(tmp_path)
    assert len(told) == len(killed)
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, f"{alive.name}.lock"}
