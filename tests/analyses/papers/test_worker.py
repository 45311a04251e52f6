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


def seconds_until_gone(leader: int) -> float:
    start = time.monotonic()
    while group(leader):
        if time.monotonic() - start > _PATIENCE:
            pytest.fail(f"{group(leader)} are still there")
        time.sleep(0.05)
    return time.monotonic() - start


# Workers import torch, and then are in the middle of a study.
@pytest.mark.parametrize("delay", [0.0, pytest.param(12.0, marks=pytest.mark.slow)])
def test_workers_end_within_seconds_when_their_parent_is_killed(
    running: subprocess.Popen[str], delay: float
) -> None:
    assert len(workers_of(running)) >= 3
    time.sleep(delay)
    running.kill()
    running.wait()
    assert seconds_until_gone(running.pid) < 5


@pytest.mark.parametrize("delay", [0.0, pytest.param(12.0, marks=pytest.mark.slow)])
def test_ctrl_c_ends_all_at_once_without_a_traceback_or_anything_half_written(
    running: subprocess.Popen[str], delay: float, tmp_path: Path
) -> None:
    workers_of(running)
    time.sleep(delay)
    os.killpg(running.pid, signal.SIGINT)
    told = running.communicate(timeout=_PATIENCE)[1]
    assert running.returncode == 130
    assert "Traceback" not in told and "Error" not in told
    assert seconds_until_gone(running.pid) < 5
    assert not list(tmp_path.rglob(".*"))
    written = list((tmp_path / "all").iterdir()) if (tmp_path / "all").exists() else []
    assert all((folder / "manifest.json").exists() for folder in written)
