"""One lease has one holder: on this machine by its lock, from another one by what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iclprobe import leases
from iclprobe.leases import Leases

LAPSE = 100.0

_HOLD = """
import sys
from pathlib import Path
from iclprobe.leases import Leases
with Leases(Path(sys.argv[1]), float(sys.argv[3])).claimed(sys.argv[2]) as held:
    print(held, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def hold(processes: list[subprocess.Popen[str]], folder: Path, lapse: float = LAPSE) -> str:
    """Claim ``cell`` in another process, and return whether it has it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, folder, "cell", str(lapse)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    processes.append(process)
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the watcher's clock be one that a test turns."""
    now = [1000.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: now[0])
    return now


def say(path: Path, beat: int = 0, machine: str = "elsewhere", boot: str = "another") -> Path:
    """Write a lease as another machine's process does."""
    path.write_text(json.dumps({"process": 1, "machine": machine, "boot": boot, "beat": f"{beat:012d}"}))
    return path


def claims(watcher: Leases) -> bool:
    with watcher.claimed("cell") as held:
        return held


def test_a_lease_is_its_holders_and_gone_when_it_ends(tmp_path: Path) -> None:
    one, other = Leases(tmp_path), Leases(tmp_path)
    with one.claimed("cell") as held:
        assert held and not claims(other) and not claims(one)
        holder = other.held()["cell"]
        assert holder is not None and (holder.process, holder.is_here) == (os.getpid(), True)
        with other.claimed("another") as too:
            assert too and set(one.held()) == {"cell", "another"}
    assert not list(tmp_path.iterdir()) and other.held() == {} and claims(other)
    with pytest.raises(ValueError, match="in the block"), one.claimed("cell"):
        raise ValueError("in the block")
    assert not list(tmp_path.iterdir())


def test_a_killed_holder_of_this_machine_is_replaced_at_once(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    assert hold(started, tmp_path) == "True"
    watcher = Leases(tmp_path)
    assert not claims(watcher) and set(watcher.held()) == {"cell"}
    started[0].kill()
    started[0].wait()
    assert watcher.held() == {}
    with watcher.claimed("cell") as held:
        assert held and hold(started, tmp_path) == "False"
    assert not list(tmp_path.iterdir())


def test_a_stopped_holder_of_this_machine_keeps_its_lease(
    tmp_path: Path, started: list[subprocess.Popen[str]], clock: list[float]
) -> None:
    assert hold(started, tmp_path, 1e6) == "True"
    watcher = Leases(tmp_path, LAPSE)
    for _ in range(3):
        assert not claims(watcher)
        clock[0] += 10 * LAPSE


@pytest.mark.parametrize("same", ["machine", "boot", "neither"])
def test_another_machines_lease_lapses_when_it_says_nothing_new(
    same: str, tmp_path: Path, clock: list[float]
) -> None:
    here = leases.Holder(0, leases.platform.node(), leases._boot())
    machine = here.machine if same == "machine" else "elsewhere"
    boot = here.boot if same == "boot" else "another"
    path = say(tmp_path / "cell.1.lease", machine=machine, boot=boot)
    watcher = Leases(tmp_path, LAPSE)
    assert not claims(watcher)
    clock[0] += LAPSE - 1
    assert not claims(watcher) and set(watcher.held()) == {"cell"}
    # Whoever has only begun to watch knows nothing yet.
    assert not claims(Leases(tmp_path, LAPSE))
    clock[0] += 1
    assert watcher.held() == {}
    with watcher.claimed("cell") as held:
        assert held and path.exists() and (tmp_path / "cell.2.lease").exists()
    assert not list(tmp_path.iterdir())


def test_a_holder_that_goes_on_beating_is_never_replaced(tmp_path: Path, clock: list[float]) -> None:
    watcher = Leases(tmp_path, LAPSE)
    for beat in range(50):
        say(tmp_path / "cell.1.lease", beat)
        assert not claims(watcher)
        clock[0] += LAPSE * 0.99
    assert not claims(watcher)


def test_a_holder_beats_for_as_long_as_it_holds(tmp_path: Path) -> None:
    with Leases(tmp_path, 0.3).claimed("cell"):
        said = set()
        end = time.monotonic() + 30
        while len(said) < 4 and time.monotonic() < end:
            said.add((tmp_path / "cell.1.lease").read_bytes())
            time.sleep(0.01)
    assert len(said) >= 4 and len({len(each) for each in said}) == 1
    assert all(json.loads(each)["process"] == os.getpid() for each in said)


@pytest.mark.parametrize("hours", [-1, 1])
def test_clocks_an_hour_apart_change_nothing(
    hours: int, tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = time.time() + 3600 * hours
    monkeypatch.setattr(leases.time, "time", lambda: there)
    path, watcher = tmp_path / "cell.1.lease", Leases(tmp_path, LAPSE)
    for beat in range(3):
        os.utime(say(path, beat), (there, there))
        assert not claims(watcher)
        clock[0] += LAPSE - 1
    os.utime(path, (there + 9999, there + 9999))
    assert not claims(watcher)
    clock[0] += 1
    assert claims(watcher)


def test_an_empty_lease_lapses(tmp_path: Path, clock: list[float]) -> None:
    (tmp_path / "cell.1.lease").touch()
    watcher = Leases(tmp_path, LAPSE)
    assert not claims(watcher) and watcher.held() == {"cell": None}
    clock[0] += LAPSE
    assert claims(watcher) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("said", ["[]", "{", '{"process": null}', "\x00" * 40])
def test_a_damaged_lease_lapses(said: str, tmp_path: Path, clock: list[float]) -> None:
    (tmp_path / "cell.1.lease").write_text(said)
    watcher = Leases(tmp_path, LAPSE)
    assert not claims(watcher) and not claims(watcher)
    clock[0] += LAPSE
    assert claims(watcher)


def test_of_many_that_take_over_a_lapsed_lease_at_once_one_holds_it(
    tmp_path: Path, clock: list[float]
) -> None:
    for round_ in range(20):
        folder = tmp_path / str(round_)
        folder.mkdir()
        say(folder / "cell.1.lease")
        watchers = [Leases(folder, LAPSE) for _ in range(6)]
        assert not any(map(claims, watchers))
        clock[0] += LAPSE
        together, over = threading.Barrier(len(watchers)), threading.Barrier(len(watchers))
        held: list[bool] = []

        def take(watcher: Leases, together=together, over=over, held=held) -> None:
            together.wait()
            with watcher.claimed("cell") as has:
                held.append(has)
                over.wait()

        threads = [threading.Thread(target=take, args=(watcher,)) for watcher in watchers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(held) == [False] * 5 + [True]
        assert not list(folder.iterdir())


def test_a_holder_whose_lease_lapsed_leaves_the_next_ones(tmp_path: Path, clock: list[float]) -> None:
    with Leases(tmp_path, LAPSE).claimed("cell"):
        first = tmp_path / "cell.1.lease"
        # As another machine sees it, whose kernel does not know the lock.
        say(tmp_path / "cell.2.lease")
    assert not first.exists() and (tmp_path / "cell.2.lease").exists()


def test_a_lease_that_is_made_again_is_watched_anew(tmp_path: Path, clock: list[float]) -> None:
    watcher = Leases(tmp_path, LAPSE)
    said = []
    for _ in range(2):
        with Leases(tmp_path, LAPSE).claimed("cell"):
            said.append((tmp_path / "cell.1.lease").read_bytes())
    assert said[0] != said[1], "from another machine both would look like one that beats no more"
    assert claims(watcher)


def test_a_lease_that_nobody_needs_is_removed(tmp_path: Path) -> None:
    for number in (1, 3):
        say(tmp_path / f"cell.{number}.lease")
    say(tmp_path / "other.1.lease")
    (tmp_path / "thesis.txt").write_text("somebody's")
    watcher = Leases(tmp_path)
    assert watcher.names() == {"cell", "other"}
    watcher.remove("cell")
    assert {path.name for path in tmp_path.iterdir()} == {"other.1.lease", "thesis.txt"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_no_lease_and_a_beat_waits_for_room(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        with pytest.raises(OSError, match="large"), Leases(tmp_path).claimed("cell"):
            pytest.fail("nothing was said")
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not list(tmp_path.iterdir())
        with Leases(tmp_path, 0.3).claimed("cell") as held:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
            time.sleep(0.3)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            before = (tmp_path / "cell.1.lease").read_bytes()
            end = time.monotonic() + 30
            while (tmp_path / "cell.1.lease").read_bytes() == before and time.monotonic() < end:
                time.sleep(0.01)
            assert held and (tmp_path / "cell.1.lease").read_bytes() != before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
