"""Leases: who works on what in a folder that several processes share, on one machine or on many.

A lease is a small file whose holder locks it (see `file_locks`) and says something new in it again and again. On
its own machine the lock tells at once whether the holder lives. From another machine a lease counts as lapsed when
what it says has not changed for so many seconds of the watcher's own clock, so that clocks which differ do no harm.
Whoever takes over a lapsed lease makes the next file of that name; making it is what decides, since only one can.
"""

from __future__ import annotations

import json
import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from .file_locks import LockState, lock_file

LAPSE_SECONDS = 120.0
"""A lease of another machine that says nothing new for so long has lapsed."""

_BEATS_PER_LAPSE = 6
_FORM = re.compile(r"(?P<name>.+)\.(?P<number>[0-9]+)\.lease", re.DOTALL)


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        process: Its number.
        machine: Where it runs.
        boot: What tells one run of that machine's system from another.
    """

    process: int
    machine: str
    boot: str

    @property
    def is_here(self) -> bool:
        """Whether it is of this machine as it runs now, whose kernel knows its locks."""
        return (self.machine, self.boot) == (platform.node(), _boot())


@dataclass
class Leases:
    """The leases in a folder, as one process sees them.

    Attributes:
        folder: Where they lie.
        lapse_seconds: How long one of another machine may say nothing new.
    """

    folder: Path
    lapse_seconds: float = LAPSE_SECONDS
    _watched: dict[Path, tuple[bytes, float]] = field(default_factory=dict)

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Hold a lease while the block runs, if nobody else holds it.

        What was to be done may have been done just before: look again once it is held.

        Args:
            name: What is worked on; a file's name.

        Yields:
            Whether it is held here.

        Raises:
            OSError: If nothing can be written there.
        """
        numbers = self._numbers(name)
        if numbers and not self._is_over(self._path(name, numbers[-1])):
            yield False
            return
        path = self._path(name, numbers[-1] + 1 if numbers else 1)
        try:
            file = path.open("xb", buffering=0)
        except FileExistsError:
            yield False
            return
        ended = threading.Event()
        with file:
            try:
                lock_file(file)
                _say(file)
                beating = threading.Thread(target=self._beat, args=(file, ended), name="lease", daemon=True)
                beating.start()
                try:
                    yield self._numbers(name)[-1:] == [numbers[-1] + 1 if numbers else 1]
                finally:
                    ended.set()
                    beating.join()
            finally:
                # Those before have lapsed; one that was made after stays its holder's.
                for number in [*numbers, numbers[-1] + 1 if numbers else 1]:
                    if os.name == "posix":
                        self._path(name, number).unlink(missing_ok=True)
        if os.name != "posix":
            # Windows removes no file that is open.
            for number in [*numbers, numbers[-1] + 1 if numbers else 1]:
                self._path(name, number).unlink(missing_ok=True)

    def held(self) -> dict[str, Holder | None]:
        """Return what is leased and not lapsed as far as is known from here, and by whom; nothing is touched."""
        newest: dict[str, int] = {}
        for name, number in _leases_in(self.folder):
            newest[name] = max(number, newest.get(name, 0))
        paths = {name: self._path(name, number) for name, number in newest.items()}
        return {name: _holder(path) for name, path in paths.items() if not self._is_over(path)}

    def names(self) -> set[str]:
        """Return what leases there are for, lapsed or not."""
        return {name for name, _ in _leases_in(self.folder)}

    def remove(self, name: str) -> None:
        """Remove the leases of what is worked on no more.

        Raises:
            OSError: If nothing can be removed there.
        """
        for number in self._numbers(name):
            self._path(name, number).unlink(missing_ok=True)

    def _numbers(self, name: str) -> list[int]:
        return sorted(number for each, number in _leases_in(self.folder) if each == name)

    def _path(self, name: str, number: int) -> Path:
        return self.folder / f"{name}.{number}.lease"

    def _is_over(self, path: Path) -> bool:
        """Return whether the holder is gone, or has said nothing new for too long."""
        try:
            said = path.read_bytes()
            holder = _holder(path)
            if holder is not None and holder.is_here:
                state = _lock_state(path)
                if state != "unknown":
                    return state == "ours"
        except FileNotFoundError:
            # Let go of meanwhile: the next look finds none.
            return False
        before, since = self._watched.get(path, (None, 0.0))
        if said != before:
            self._watched[path] = (said, time.monotonic())
            return False
        return time.monotonic() - since >= self.lapse_seconds

    def _beat(self, file: BinaryIO, ended: threading.Event) -> None:
        while not ended.wait(self.lapse_seconds / _BEATS_PER_LAPSE):
            try:
                _say(file)
            except OSError:
                # The lease may lapse then, and what it is for be done twice, of which one is kept; a disk that is
                # full now may have room at the next beat.
                continue


def _say(file: BinaryIO) -> None:
    """Write who holds the lease, and what was never said before.

    It is always as many bytes, so that a reader sees the old text or the new one.
    """
    holder = {"process": os.getpid(), "machine": platform.node(), "boot": _boot()}
    file.seek(0)
    file.write(json.dumps({**holder, "beat": uuid4().hex}).encode())
    os.fsync(file.fileno())


def _lock_state(path: Path) -> LockState:
    """Try a lease's lock, and let go of it."""
    try:
        # NFS locks nothing that is open for reading alone.
        with path.open("r+b") as file:
            return lock_file(file)
    except FileNotFoundError:
        raise
    except OSError:
        with path.open("rb") as file:
            return lock_file(file)


def _holder(path: Path) -> Holder | None:
    """Return who holds a lease; None where it does not say so yet."""
    try:
        said = json.loads(path.read_bytes())
        return Holder(int(said["process"]), str(said["machine"]), str(said["boot"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _leases_in(folder: Path) -> Iterator[tuple[str, int]]:
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return
    for name in names:
        found = _FORM.fullmatch(name)
        if found is not None:
            yield found["name"], int(found["number"])


def _boot() -> str:
    """Return what tells this run of the system from others; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
