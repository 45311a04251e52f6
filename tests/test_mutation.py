"""What `make mutate` changes, how it tells whether a test noticed, and that its list of exceptions gives reasons."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mutation.accepted import LIST, accepted, as_entry
from mutation.forks import in_fork
from mutation.mutants import mutants

ROOT = Path(__file__).resolve().parent.parent

SOURCE = '''"""A text."""
LIMIT = 3

def share(part: float, whole: float = 1.0) -> float:
    """Return a share."""
    if part < 0 or not whole:
        raise ValueError("no share")
    return round(part / whole, ndigits=2)
'''


def changes(source: str) -> dict[str, bool]:
    return {mutant.change: mutant.in_function for mutant in mutants(source, "made.py")}


def test_numbers_comparisons_conditions_arguments_and_statements_are_changed_and_texts_are_not() -> None:
    assert changes(SOURCE) == {
        "3 -> 4": False,
        "3 -> 2": False,
        "1.0 -> 2.0": False,
        "1.0 -> 0.0": False,
        "part < 0 or not whole -> part < 0 and (not whole)": True,
        "part < 0 or not whole -> not whole": True,
        "part < 0 or not whole -> part < 0": True,
        "part < 0 -> part <= 0": True,
        "part < 0 -> part >= 0": True,
        "0 -> 1": True,
        "0 -> -1": True,
        "not whole -> whole": True,
        "raise ValueError('no share') -> pass": True,
        "part / whole -> part * whole": True,
        "ndigits=2 -> (nothing)": True,
        "2 -> 3": True,
        "2 -> 1": True,
    }


def test_each_change_is_alone_and_runs() -> None:
    expected = {
        "part / whole -> part * whole": (4.0, 3),
        "3 -> 4": (0.25, 4),
        "2 -> 1": (0.2, 3),
        "part < 0 -> part <= 0": (0.25, 3),
        "not whole -> whole": None,
    }
    for mutant in mutants(SOURCE, "made.py"):
        if mutant.change in expected:
            names: dict[str, Any] = {}
            exec(mutant.code, names)
            if (result := expected.pop(mutant.change)) is None:
                with pytest.raises(ValueError, match="no share"):
                    names["share"](1.0, 4.0)
            else:
                assert (names["share"](1.0, 4.0), names["LIMIT"]) == result
    assert not expected


def test_the_same_change_of_the_same_line_is_told_apart_by_its_number() -> None:
    found = [mutant.change for mutant in mutants("pair = (7, 7)\n", "made.py")]
    assert {"7 -> 8", "7 -> 8 #2", "7 -> (nothing)", "7 -> (nothing) #2"} <= set(found)
    assert len(set(found)) == len(found)


def test_an_exception_without_a_reason_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    survivor = next(mutants("limit = 3\n", "made.py"))
    path = tmp_path / LIST.name
    path.write_text(as_entry("made.py", [survivor]), encoding="utf-8")
    monkeypatch.setattr("mutation.accepted.LIST", path)
    with pytest.raises(ValueError, match="no reason for what it accepts in the line 'limit = 3'"):
        accepted()
    path.write_text(path.read_text().replace('reason = ""', 'reason = "made up"'), encoding="utf-8")
    assert accepted() == {("made.py", "limit = 3", "3 -> 4")}


def test_what_happens_in_a_fork_stays_there_and_one_that_dies_has_no_result() -> None:
    here: list[int] = []
    assert in_fork(lambda: here.append(1) or len(here), 60) == 1
    assert here == []
    assert in_fork(lambda: os._exit(1), 60) is None


@pytest.mark.slow
def test_make_mutate_finds_a_change_that_nobody_notices_and_accepts_what_is_listed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mutation", "probes/scratch.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 survivors in " in done.stdout
