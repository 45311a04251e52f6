"""Which tests run which line, and how long each takes."""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import pytest


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
        """Return the tests in a folder that run one of the lines (None: any line), the fastest first."""
        by_line = self.tests[file]
        wanted = by_line if lines is None else range(lines[0], lines[1] + 1)
        found = {test for line in wanted for test in by_line.get(line, ())}
        return sorted((test for test in found if test.startswith(among)), key=self.seconds.__getitem__)


class Failures:
    """A pytest plugin that keeps the tests which failed."""

    def __init__(self) -> None:
        self.tests: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests.append(report.nodeid)


def covering(items: Sequence[pytest.Item], files: Iterable[str], failures: Failures) -> Covering:
    """Run tests once and note the lines of some files that each of them runs."""
    before = set(sys.modules)
    found = Covering({file: defaultdict(set) for file in files})
    current = ""

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        lines = found.tests.get(frame.f_code.co_filename)
        if lines is None:
            return None
        lines[frame.f_lineno].add(current)
        return trace

    threading.settrace(trace)
    for item, following in zip(items, [*items[1:], None], strict=True):
        current = item.nodeid
        start = time.perf_counter()
        sys.settrace(trace)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        sys.settrace(None)
        found.seconds[current] = time.perf_counter() - start
    found.failed = failures.tests
    found.modules = sorted(set(sys.modules) - before)
    return found
