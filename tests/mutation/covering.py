"""Which tests run which line, and how long each takes."""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import iclprobe

_TESTS = str(Path(__file__).resolve().parents[1])
_PACKAGE = str(Path(iclprobe.__file__).parent)
_FIXTURE = "fixture "
# Seconds of tests that are asked about one change.
_BUDGET = 30.0


@dataclass
class Covering:
    """What one run of the unchanged tests showed.

    Attributes:
        tests: Node ids of the tests that run a line, by file and line.
        seconds: How long each test took.
        failed: Tests that fail without any change.
        modules: Names of the modules that were imported meanwhile.
    """

    tests: dict[str, dict[int, set[str]]]
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)

    def of(self, file: str, lines: tuple[int, int] | None, among: str) -> list[str]:
        """Return the tests in a folder that run one of the lines, the fastest first.

        What runs when a file is imported (None) concerns all tests of the folder, first those of the file. Tests
        that together take longer than half a minute are left out, or one change would take minutes.
        """
        by_line = self.tests[file]
        wanted = by_line if lines is None else range(lines[0], lines[1] + 1)
        found = {test for line in wanted for test in by_line.get(line, ())}
        asked = [test for test in self.seconds if test.startswith(among) and (lines is None or test in found)]
        asked.sort(key=lambda test: (test not in found, self.seconds[test]))
        ends = accumulate(self.seconds[test] for test in asked)
        return [
            test
            for place, (test, end) in enumerate(zip(asked, ends, strict=True))
            if not place or end < _BUDGET
        ]


class Failures:
    """A pytest plugin that keeps the tests which failed."""

    def __init__(self) -> None:
        self.tests: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests.append(report.nodeid)


class _Recorder:
    """A pytest plugin that notes which lines a test, or a fixture that tests share, runs."""

    def __init__(self, files: Iterable[str]) -> None:
        self.lines: dict[str, dict[int, set[str]]] = {file: defaultdict(set) for file in files}
        self.current = ""

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """See `sys.settrace`."""
        lines = self.lines.get(frame.f_code.co_filename)
        if lines is None:
            return None
        lines[frame.f_lineno].add(self.current)
        return self.trace

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """What the first test sets up for others is run for them too."""
        before = self.current
        if fixturedef.scope != "function":
            self.current = _FIXTURE + fixturedef.argname
        try:
            return (yield)
        finally:
            self.current = before

    def by_test(self, items: Sequence[pytest.Item]) -> dict[str, dict[int, set[str]]]:
        """Return the tests of each line, those that use a shared fixture among them."""
        users: dict[str, set[str]] = defaultdict(set)
        for item in items:
            for name in getattr(item, "fixturenames", ()):
                users[_FIXTURE + name].add(item.nodeid)
        return {
            file: {
                line: {test for one in ran for test in users.get(one, {one})} for line, ran in lines.items()
            }
            for file, lines in self.lines.items()
        }


def covering(items: Sequence[pytest.Item], files: Iterable[str], failures: Failures) -> Covering:
    """Run tests once and note the lines of some files that each of them runs."""
    before = set(sys.modules)
    recorder, seconds = _Recorder(files), {}
    items[0].config.pluginmanager.register(recorder)
    threading.settrace(recorder.trace)
    for item, following in zip(items, [*items[1:], None], strict=True):
        _forget_what_was_cached()
        recorder.current = item.nodeid
        start = time.perf_counter()
        sys.settrace(recorder.trace)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        sys.settrace(None)
        seconds[item.nodeid] = time.perf_counter() - start
    return Covering(recorder.by_test(items), seconds, failures.tests, sorted(set(sys.modules) - before))


def _forget_what_was_cached() -> None:
    """Empty the caches of functions, ours and those of the tests, or only the first test would run their lines."""
    for module in list(sys.modules.values()):
        if (getattr(module, "__file__", None) or "").startswith((_PACKAGE, _TESTS)):
            for thing in list(vars(module).values()):
                if isinstance(thing, functools._lru_cache_wrapper):
                    thing.cache_clear()
