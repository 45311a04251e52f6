"""Memory does not grow with the number of queries beyond what is kept of them, and nothing is left on the disk."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peak_memory import IN_MEMORY_BYTES, OPTIONS, measure

import iclprobe
from iclprobe.analyses.comparison.registration import COMPARE
from iclprobe.analyses.runner import run_analysis
from iclprobe.analyses.shared import Shared
from iclprobe.hooks import storage
from iclprobe.scratch_files import scratch_place

LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
FEW, MANY = 100, 600
# Texts, token ids and spans of a query, as Python holds them.
PROMPT_BYTES = 6_000
# What works on pieces of bounded size takes more until they are full: the shares of attention beyond 100 queries.
SLACK_BYTES, SLACK_OF_ATTENTION = 3 << 20, 6 << 20


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("analysis", OPTIONS)
def test_memory_grows_by_what_is_kept_of_the_queries(analysis: str, tmp_path: Path) -> None:
    """What is kept: prompts, tables (there twice while they are put together), and arrays that are not on disk."""
    few, many = measure(analysis, (FEW, MANY), tmp_path)
    arrays = sum(size for size in many["arrays"] if size <= IN_MEMORY_BYTES)
    kept = 2 * many["tables"] + arrays + PROMPT_BYTES * (MANY - FEW)
    grown = many["peak"] - few["peak"]
    slack = SLACK_OF_ATTENTION if analysis == "attention" else SLACK_BYTES
    assert grown <= kept + slack, (grown / 2**20, kept / 2**20)


def scratch_maps(process: int | str = "self") -> list[str]:
    """What of files without a name a process has mapped."""
    lines = Path(f"/proc/{process}/maps").read_text().splitlines()
    return [line for line in lines if ".iclprobe-" in line or ("(deleted)" in line and "/#" in line)]


@LINUX
def test_recordings_on_disk_are_shared_and_go_with_their_last_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "IN_MEMORY_BYTES", 1_000)
    shared, before = Shared(), len(scratch_maps())
    asked = {"device": "cpu", "limit": 12, "shots": 2, "resamples": 10, "keep_rows": 0, "keep_maps": 0}
    made = [
        run_analysis(
            COMPARE,
            out=tmp_path / name,
            page=False,
            pictures=False,
            shared=shared,
            learning_rate=rate,
            **asked,
        )
        for name, rate in (("one", 0.1), ("two", 0.2))
    ]
    assert len(scratch_maps()) > before
    monkeypatch.undo()
    alone = run_analysis(COMPARE, learning_rate=0.2, **asked)
    for name, table in alone.tables.items():
        assert table.equals(made[1].tables[name]), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    shared.clear()
    gc.collect()
    assert len(scratch_maps()) == before


RUN = """
import sys, time
import numpy as np
from iclprobe.hooks import storage
from iclprobe.scratch_files import scratch_place
from pathlib import Path
import torch
with scratch_place(Path(sys.argv[1])):
    array = storage.scratch_zeros(3_000_000, dtype=torch.float64)
    array += 1
    print("filled", flush=True)
    time.sleep(60)
"""


@LINUX
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_on_the_disk_however_a_run_ends(ending: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "filled\n"
        assert scratch_maps(process.pid)
        os.kill(process.pid, ending)
        process.wait(20)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_said_before_the_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with scratch_place(tmp_path), pytest.raises(iclprobe.UserError, match="the disk is full or a limit"):
            storage.scratch_zeros(3_000_000, dtype=torch.float64)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
