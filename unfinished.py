"""Places for what is not finished yet: beside what it will be, and gone when its run is over, however it ended.

A run writes into a hidden place beside its target, and holds the lock of a small file beside that, which the system
lets go of when the process ends, a killed one included. So the next run of the same target knows which places nobody
writes into any more. Locks do not reach every other machine, so places of another machine are told and left alone.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from .addresses import is_address
from .errors import UserError
from .file_locks import lock_file

_MAKER = "iclprobe"
_ANY = re.compile(r"\.(?P<target>.+)\.unfinished-[0-9a-f]{8}\.lock", re.DOTALL)
# What this process writes into now, and who may begin or end that: whoever ends all of it never lets go.
_OPEN: set[Path] = set()
_TURN = threading.Lock()


@dataclass(frozen=True)
class _Leftover:
    """What a run left beside its target.

    Attributes:
        place: What it wrote into.
        lock: The lock's file.
        process: The process that made it.
        machine: Where that ran.
    """

    place: Path
    lock: Path
    process: int
    machine: str


def require_on_disk(path: str | Path) -> None:
    """Refuse an address where a place on a disk is meant; a folder of that name would tell its password.

    Raises:
        UserError: If it is one.
    """
    if is_address(path):
        raise UserError(
            f"{str(path)!r} is an address, and results are written on this machine: choose a folder or file (--out)"
        )


@contextmanager
def unfinished_place(target: Path) -> Iterator[Path]:
    """Give a path beside a target to write into, a folder or a file; whatever is there at the end is removed.

    What killed runs of the same target left is told in a warning and removed first. A target that was being replaced
    when its run was killed is put back.

    Args:
        target: What is to be there in the end: the caller renames the path to it.

    Yields:
        A path where nothing is yet.

    Raises:
        UserError: If the target is an address.
    """
    require_on_disk(target)
    remove_leftovers(target)
    place, opened = _begun_place(target)
    lock = _lock_of(place)
    try:
        with opened:
            try:
                yield place
            finally:
                _remove(place)
                if os.name == "posix":
                    lock.unlink(missing_ok=True)
    finally:
        # Windows removes no file that is open.
        lock.unlink(missing_ok=True)
        _OPEN.discard(place)


def _begun_place(target: Path) -> tuple[Path, BinaryIO]:
    """Return a place beside a target, and the locked file that says whose it is."""
    while True:
        place = target.with_name(f"{_beginning(target)}{uuid4().hex[:8]}")
        lock = _lock_of(place)
        with _TURN:
            _OPEN.add(place)
            try:
                file = lock.open("xb", buffering=0)
            except BaseException:
                _OPEN.discard(place)
                raise
        try:
            # Locked before it says whose it is. Where no locks are, nobody takes the place for abandoned.
            state = lock_file(file)
            made_by = {"made_by": _MAKER, "process": os.getpid(), "machine": platform.node()}
            file.write(json.dumps(made_by).encode())
            # Before it was locked somebody may have taken it for a killed run's, and removed it.
            if state != "held" and lock.exists():
                return place, file
        except BaseException:
            _end(place, file)
            raise
        _end(place, file)


def _end(place: Path, file: BinaryIO) -> None:
    file.close()
    _lock_of(place).unlink(missing_ok=True)
    _OPEN.discard(place)


def remove_open_places() -> None:
    """Remove every unfinished place of this process, for one that ends at once and unwinds nothing.

    No other is begun afterwards: whoever wants to waits, for the end.
    """
    _TURN.acquire()
    for place in tuple(_OPEN):
        if replaced_place(place).exists():
            # The old target waits there: the next run puts it back.
            continue
        _remove(place)
        if os.name == "posix":
            _lock_of(place).unlink(missing_ok=True)


def replaced_place(place: Path) -> Path:
    """Return where an old target waits while what is in an unfinished place takes its name."""
    return place.with_name(place.name.replace(".unfinished-", ".replaced-"))


def remove_leftovers(target: Path) -> None:
    """Remove what killed runs left beside a target, and say so; what a run is writing now stays, unsaid.

    Args:
        target: A run directory or a file.
    """
    form = re.compile(rf"{re.escape(_beginning(target))}[0-9a-f]{{8}}\.lock")
    _remove_unsaid(target.parent, form)
    for left in _said_by_locks(target.parent, form):
        if left.machine != platform.node():
            _tell_unfinished(left)
            continue
        try:
            with left.lock.open("r+b") as file:
                if lock_file(file) != "ours":
                    continue
                if os.name == "posix":
                    _clear(left, target)
                    continue
            # Windows removes no file that is open, and its lock is gone with the process that held it.
            _clear(left, target)
        except FileNotFoundError:
            continue
        except OSError:
            # Another user's, for one.
            _tell_unfinished(left)


def remove_leftovers_in(folder: Path) -> None:
    """Remove what killed runs left in a folder, of whatever target, and say so.

    Args:
        folder: Where run directories or files are.
    """
    _remove_unsaid(folder, _ANY)
    for target in sorted({begun.target for begun in begun_in(folder)}):
        remove_leftovers(folder / target)


@dataclass(frozen=True)
class Begun:
    """What a run began in a folder and has not finished.

    Attributes:
        target: The name of what it is to be.
        process: The process that began it.
        machine: Where that runs, or ran.
        running: Whether it still writes; None where that cannot be known from here.
        since: When it began, in seconds since 1970.
    """

    target: str
    process: int
    machine: str
    running: bool | None
    since: float


def begun_in(folder: Path) -> list[Begun]:
    """Return what runs began in a folder and have not finished; nothing is touched."""
    found = []
    for left in _said_by_locks(folder, _ANY):
        named = _ANY.fullmatch(left.lock.name)
        assert named is not None
        try:
            # A lock's file says whose it is only after it is locked, so that trying it here takes it from nobody.
            with left.lock.open("rb") as file:
                state = lock_file(file) if left.machine == platform.node() else "unknown"
            since = left.lock.stat().st_mtime
        except OSError:
            continue
        running = {"held": True, "ours": False, "unknown": None}[state]
        found.append(Begun(named["target"], left.process, left.machine, running, since))
    return found


def _tell_unfinished(left: _Leftover) -> None:
    warnings.warn(
        f"{str(left.place)!r} was begun by process {left.process} on {left.machine!r} and is not finished: remove it "
        "if that run is over",
        stacklevel=3,
    )


def _clear(left: _Leftover, target: Path) -> None:
    """Remove what a run left, and its lock's file last, which says whose it is."""
    replaced = replaced_place(left.place)
    if replaced.exists() and not target.exists():
        replaced.rename(target)
        warnings.warn(f"put {str(target)!r} back, which a killed run was replacing", stacklevel=3)
    there = [path for path in (left.place, replaced) if _is_there(path)]
    for path in there:
        _remove(path)
        if _is_there(path):
            raise PermissionError(str(path))
    left.lock.unlink(missing_ok=True)
    if there:
        names = " and ".join(repr(path.name) for path in there)
        warnings.warn(f"removed {names}, which a killed run left beside {str(target)!r}", stacklevel=3)


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _remove_unsaid(folder: Path, form: re.Pattern[str]) -> None:
    """Remove locks' files of runs that were killed before they said whose they are, and so before they began."""
    for lock in _locks_in(folder, form) if os.name == "posix" else []:
        try:
            if lock.lstat().st_size or _is_there(lock.with_name(lock.name.removesuffix(".lock"))):
                continue
            with lock.open("r+b") as file:
                # Whoever is about to say so is heard once it is locked here, or finds it gone and makes another.
                if lock_file(file) == "ours" and not os.fstat(file.fileno()).st_size:
                    lock.unlink(missing_ok=True)
        except OSError:
            # Gone meanwhile, or another user's; it is empty.
            continue


def _locks_in(folder: Path, form: re.Pattern[str]) -> list[Path]:
    try:
        found = sorted(path for path in folder.iterdir() if form.fullmatch(path.name))
        return [path for path in found if stat.S_ISREG(path.lstat().st_mode)]
    except OSError:
        return []


def _said_by_locks(folder: Path, form: re.Pattern[str]) -> list[_Leftover]:
    """Return what locks' files of a folder say whose names have a form."""
    found = []
    for lock in _locks_in(folder, form):
        try:
            said = json.loads(lock.read_bytes())
            if said["made_by"] == _MAKER:
                place = lock.with_name(lock.name.removesuffix(".lock"))
                found.append(_Leftover(place, lock, int(said["process"]), str(said["machine"])))
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return found


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _lock_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.lock")


def _beginning(target: Path) -> str:
    return f".{target.name}.unfinished-"
