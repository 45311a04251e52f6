"""A sweep that is killed at any moment and run again ends as one that was not."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forked_commands import Commands
from sweep_files import computed_in, contents, files_of, tiny_study

PATIENCE = 120
KILLS = 20
LAPSE = ["--lapse-seconds", "2"]
"""A process that is killed between making a lease and saying whose it is leaves one that has to lapse."""


def moment(out: Path) -> dict[str, Callable[[], bool]]:
    """Return what tells that a run is where it should be killed."""
    done = len(list((out / "cells").glob("tiny-*")))
    leases = set((out / "leases").glob("*.lease"))
    return {
        "planning": lambda: True,
        "computing": lambda: bool(set((out / "leases").glob("*.lease")) - leases),
        "writing": lambda: bool(list((out / "cells").glob(".*/config.yaml"))),
        "between cells": lambda: len(list((out / "cells").glob("tiny-*"))) > done,
    }


JITTER = {"planning": 0.15, "computing": 0.03, "writing": 0.03, "between cells": 0.004}


def runs(process: int) -> bool:
    """Return whether a process has not ended, as the system tells it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return True


@pytest.mark.slow
def test_sixty_cells_killed_twenty_times_are_those_of_a_sweep_that_was_not(
    commands: Commands, tmp_path: Path
) -> None:
    study = tiny_study(tmp_path, seeds=30, files=2, pause=0.01)
    argv = ["sweep", str(study), *LAPSE, "--out"]
    whole = commands.run([*argv, str(tmp_path / "whole")], tmp_path, PATIENCE)
    assert whole.code == 0 and len(computed_in(whole.err)) == 60, whole
    out = tmp_path / "killed"
    chance = random.Random(0)
    phases = list(JITTER) * (KILLS // len(JITTER))
    chance.shuffle(phases)
    # A sweep without a plan is there only until it has one.
    phases.sort(key=lambda phase: phase != "planning")
    phases[3:] = chance.sample(phases[3:], KILLS - 3)
    hit: list[str] = []
    for number, phase in enumerate(phases):
        process = commands.begin([*argv, str(out)], tmp_path, PATIENCE, f"killed{number}")
        if phase != "planning":
            time.sleep(chance.uniform(0, 0.15))
        is_there, end = moment(out)[phase], time.monotonic() + PATIENCE
        while not is_there() and runs(process) and time.monotonic() < end:
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, JITTER[phase]))
        os.kill(process, signal.SIGKILL)
        ended = commands.end(process, f"killed{number}")
        if ended.code == -signal.SIGKILL:
            hit.append(phase)
    assert len(hit) == KILLS, f"the sweep ended before it was killed {KILLS} times: {hit}"
    last = commands.run([*argv, str(out)], tmp_path, PATIENCE)
    assert last.code == 0, last
    assert files_of(out) == files_of(tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")
    again = commands.run([*argv, str(out)], tmp_path, PATIENCE)
    assert "60 cells of tiny: 0 computed, 60 kept" in again.out and again.code == 0
