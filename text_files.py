"""Text files as users give them: regular files of a bounded size, in UTF-8."""

from __future__ import annotations

import stat
from pathlib import Path

from .errors import UserError, shown

LARGEST_SETTINGS = 64 * 1024
"""Bytes of a file of settings, which is read within a second at that size."""
LARGEST_TABLE = 1 << 30
"""Bytes of a file of records, which is held in memory several times over while it is read."""


_BEGINNING = 1 << 16


class Unreadable(ValueError):
    """Why a text cannot be read, such as ``line 3: …``; whoever knows where the text stands says so."""


def read_text(path: str | Path, at_most: int) -> str:
    """Return the text of a file, without a byte order mark and with the line ends that it has.

    A named pipe or a device is refused before it is opened: it might never end, or never begin.

    Args:
        path: The file.
        at_most: The most bytes it may have.

    Raises:
        UserError: If there is no such file, it is no regular file or too large, or it is not text in UTF-8.
    """
    require_file(path, at_most)
    name = shown(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_BEGINNING)
            if b"\x00" not in raw:
                # A file that has grown meanwhile is cut.
                raw += file.read(at_most - len(raw))
        nul = raw.find(b"\x00")
        if nul >= 0:
            line = raw.count(b"\n", 0, nul) + 1
            raise UserError(f"{name} line {line} has a NUL byte: give a text file, and save it as UTF-8.")
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name} line {line} is not UTF-8 text ({error.reason}): save it as UTF-8."
        ) from error
    except OSError as error:
        raise UserError(f"Cannot read {name} ({error.strerror or error}): check the path.") from error


def require_file(path: str | Path, at_most: int) -> None:
    """Refuse a path where no regular file of a bounded size is.

    Args:
        path: The file.
        at_most: The most bytes it may have.

    Raises:
        UserError: If there is no such file, or it is something else or too large.
    """
    name = shown(path)
    try:
        found = Path(path).stat()
    except FileNotFoundError as error:
        raise UserError(f"There is no file {name}: check the path.") from error
    except OSError as error:
        raise UserError(f"Cannot read {name} ({error.strerror or error}): check the path.") from error
    except ValueError as error:
        raise UserError(f"No file can be called {name}: check the path.") from error
    if stat.S_ISDIR(found.st_mode):
        raise UserError(f"Cannot read {name}: it is a folder; give the path of a file.")
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"Cannot read {name}: it is a pipe or a device; give the path of a regular file.")
    if found.st_size > at_most:
        raise UserError(
            f"Cannot read {name}: it has {found.st_size:,} bytes and at most {at_most:,} are read; give a smaller "
            "file."
        )


def exists(path: str | Path) -> bool:
    """Return whether anything is there; a text that can be no path is nothing."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def in_home(path: str | Path) -> Path:
    """Return a path with the home folder that ``~`` stands for; ``~`` and a name that nobody has stay as they are."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_file(path: str | Path) -> bool:
    """Return whether a regular file is there; a text that can be no path is none."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def is_folder(path: str | Path) -> bool:
    """Return whether a folder is there; a text that can be no path is none."""
    try:
        return stat.S_ISDIR(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False
