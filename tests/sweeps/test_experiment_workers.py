"""Processes that run studies end with the one that began them: on Ctrl-C at once, after a kill within seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups and ps are POSIX")
_PATIENCE = 60.0
_SOON = 20.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Long studies in two processes, in a process group of their own as a terminal has it."""
    command = [sys.executable, "-m", "iclprobe", "reproduce", "shen2024", "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "all")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def group(leader: int) -> set[int]:
    """The processes of a group that are there and no zombies."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return {int(pid) for pid, pgid, state in rows if int(pgid) == leader and not state.startswith("Z")}


def workers_of(process: subprocess.Popen[str]) -> set[int]:
    """Wait until both workers are there, and return what the group has beside its leader."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        # Two workers and the resource tracker of multiprocessing.
        others = group(process.pid) - {process.pid}
        if len(others) >= 3:
            return others
        time.sleep(0.1)
    pytest.fail("the workers did not begin")


def wait_until_gone(leader: int) -> None:
    """Wait for a few seconds, and longer on a machine that is busy, but not as long as a study lasts."""
    deadline = time.monotonic() + _SOON
    while group(leader):
        if time.monotonic() > deadline:
            pytest.fail(f"{group(leader)} are still there")
        time.sleep(0.05)


def wait_for_a_study(studies: Path) -> None:
    """Wait until a worker is in the middle of a study."""
    deadline = time.monotonic() + _PATIENCE
    while not list(studies.glob(".*.unfinished-*")):
        if time.monotonic() > deadline:
            pytest.fail("no worker began a study")
        time.sleep(0.1)


# At first workers import torch; later they are in the middle of a study.
ENDINGS = [
    pytest.param(ending, when, marks=[pytest.mark.slow] if is_slow else [], id=f"{ending}-{when}")
    for ending, when, is_slow in (
        ("kill", "beginning", False),
        ("terminate", "beginning", True),
        ("interrupt", "beginning", False),
        ("interrupt all", "beginning", True),
        ("kill", "middle", True),
        ("terminate", "middle", True),
        ("interrupt", "middle", True),
        ("interrupt all", "middle", True),
    )
]
SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM}


@pytest.mark.parametrize(("ending", "when"), ENDINGS)
def test_workers_end_with_their_parent_however_it_ends(
    ending: str, when: str, running: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert len(workers_of(running)) >= 3
    if when == "middle":
        wait_for_a_study(tmp_path / "all" / "studies")
    sent = SIGNALS.get(ending, signal.SIGINT)
    if ending == "interrupt all":
        # As a terminal does it.
        os.killpg(running.pid, sent)
    else:
        running.send_signal(sent)
    told = running.communicate(timeout=_SOON)[1]
    wait_until_gone(running.pid)
    assert "Traceback" not in told
    if sent == signal.SIGINT:
        assert running.returncode == 130
        assert "Error" not in told and not list(tmp_path.rglob(".*"))
    else:
        assert running.returncode == -sent
    # What a worker had begun is put away, even where nobody could ask it to.
    assert not list(tmp_path.glob("all/studies/.*"))
    # The folders of the studies, of failures and of leases are none themselves.
    written = [folder for folder in tmp_path.glob("all/**/") if folder.parent.name in ("all", "studies")]
    written = [folder for folder in written if folder.name not in ("studies", "failed", "leases")]
    assert all((folder / "manifest.json").exists() for folder in written if not folder.name.startswith("."))


def test_a_worker_that_is_killed_is_told_in_one_sentence(running: subprocess.Popen[str]) -> None:
    # The youngest; the resource tracker of multiprocessing is the eldest.
    os.kill(max(workers_of(running)), signal.SIGKILL)
    told = running.communicate(timeout=_PATIENCE)[1]
    wait_until_gone(running.pid)
    assert running.returncode == 2
    assert "ended from outside" in told and "Traceback" not in told
