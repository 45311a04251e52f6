"""How far something long has come: a bar on a terminal or in a notebook, and elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

SECONDS_BETWEEN_LINES = 10.0
"""Where there is no terminal: at most one line in so many seconds, of all bars together; short work has none."""

_latest_line = 0.0
_quiet = False

T = TypeVar("T")


class Progress:
    """How much of something is done, shown on standard error while it lasts.

    It is a context manager: what was drawn is finished when it ends.
    """

    def __init__(
        self, name: str | None, total: int | None = None, unit: str = "it", *, leave: bool = True
    ) -> None:
        """Begin.

        Args:
            name: What is done; None shows nothing.
            total: How much there is; None is unknown.
            unit: What is counted.
            leave: Whether a bar stays when it is full.
        """
        self.name, self.total, self.unit, self.done, self._note = name, total, unit, 0, ""
        self._start = self._told = time.monotonic()
        self._told_of: int | None = None
        self._bar: Any = None
        if name is not None and not _quiet and _is_seen():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=name, unit=unit, leave=leave)

    def update(self, count: int = 1) -> None:
        """Say that so many more are done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        else:
            self._line_if_due()

    def reach(self, done: int, total: int, note: str = "") -> None:
        """Say how many are done, of how many, and something more."""
        self.total = total
        if self._bar is not None:
            self._bar.total = total
        self.note(note)
        self.update(done - self.done)

    def note(self, text: str) -> None:
        """Show something more beside the numbers."""
        self._note = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def __enter__(self) -> Progress:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what was drawn; who has been told of a part is told of the end."""
        if self._bar is not None:
            self._bar.close()
        elif self._told_of not in (None, self.done) and error is None:
            self._line()

    def _line_if_due(self) -> None:
        now = time.monotonic()
        if (
            self.name is not None
            and not _quiet
            and now - max(self._told, _latest_line) >= SECONDS_BETWEEN_LINES
        ):
            self._line()

    def _line(self) -> None:
        global _latest_line
        self._told = _latest_line = time.monotonic()
        self._told_of = self.done
        count = f"{self.done}" if self.total is None else f"{self.done} of {self.total}"
        note = f", {self._note}" if self._note else ""
        seconds = round(self._told - self._start)
        print(f"{self.name}: {count} {self.unit}{note} ({seconds} s)", file=sys.stderr, flush=True)


def progressing(
    entries: Iterable[T], name: str | None, unit: str = "it", *, leave: bool = True
) -> Iterator[T]:
    """Yield entries and show how far it is; arguments are those of `Progress`."""
    total = len(entries) if hasattr(entries, "__len__") else None  # type: ignore[arg-type]
    with Progress(name, total, unit, leave=leave) as progress:
        for entry in entries:
            yield entry
            progress.update()


@contextmanager
def quiet_progress(quiet: bool = True) -> Iterator[None]:
    """Show no progress inside, if asked to."""
    global _quiet
    before, _quiet = _quiet, quiet
    try:
        yield
    finally:
        _quiet = before


def _is_seen() -> bool:
    """Return whether somebody watches a bar: on a terminal, or in a notebook, whose standard error is none."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    return running is not None and type(running).__name__ == "ZMQInteractiveShell"
