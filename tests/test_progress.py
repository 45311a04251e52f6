"""Progress is a bar where somebody watches, and elsewhere a line now and then."""

from __future__ import annotations

import io

import pytest

from iclprobe import progress as module
from iclprobe.progress import Progress, progressing


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is; the time of the latest line is forgotten."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "_latest_line", 0.0)
    return now


def test_short_work_says_nothing_off_a_terminal(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    assert list(progressing(range(3), "weights")) == [0, 1, 2]
    clock[0] += 9
    with Progress("zsl", 2, "prompts") as bar:
        bar.update()
    assert capsys.readouterr().err == ""


def test_long_work_says_a_line_now_and_then_and_its_end(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    with Progress("learning rate", 11, "tried") as bar:
        for tried in range(1, 8):
            clock[0] += 4
            bar.reach(tried, 11, "" if tried < 3 else "best 0.003")
    assert capsys.readouterr().err.splitlines() == [
        "learning rate: 3 of 11 tried, best 0.003 (12 s)",
        "learning rate: 6 of 11 tried, best 0.003 (24 s)",
        "learning rate: 7 of 11 tried, best 0.003 (28 s)",
    ]


def test_several_bars_share_the_lines(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Progress("outer", None, "runs") as outer:
        with Progress("inner", 4, "steps") as inner:
            clock[0] += 11
            inner.update()
            outer.update()
        assert capsys.readouterr().err == "inner: 1 of 4 steps (11 s)\n"
        clock[0] += 11
        outer.update()
    assert capsys.readouterr().err.startswith("outer: 2 runs (22 s)\n")


def test_what_fails_is_not_said_to_have_ended(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with pytest.raises(KeyError), Progress("zsl", 9, "prompts") as bar:
        clock[0] += 20
        bar.update()
        raise KeyError
    assert capsys.readouterr().err == "zsl: 1 of 9 prompts (20 s)\n"


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    terminal = Terminal()
    monkeypatch.setattr(module.sys, "stderr", terminal)
    with Progress("finetune", 2, "steps") as bar:
        bar.reach(1, 2, "best 0.1")
        bar.update()
    assert "finetune: 100%" in terminal.getvalue() and "2/2" in terminal.getvalue()


def test_without_a_name_nothing_is_shown(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    terminal = Terminal()
    monkeypatch.setattr(module.sys, "stderr", terminal)
    with Progress(None, 2) as bar:
        clock[0] += 100
        bar.update()
    assert terminal.getvalue() == ""
