"""Files for what is too large for memory while a run works with it: they have no name and end with their last user.

The system removes such a file when nobody has it open or mapped any more: when its arrays are let go of, and after
Ctrl-C or a kill as well. So nothing has to be cleaned up, and nothing is ever left behind.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from .errors import UserError, shown

IN_MEMORY_BYTES = 8 << 20
"""What is no larger than this stays in memory."""

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says of a full disk."""

_PLACE: ContextVar[Path | None] = ContextVar("_PLACE", default=None)


@contextmanager
def scratch_place(folder: Path | None) -> Iterator[None]:
    """Put scratch files on the disk of a folder while the block runs; None is the system's temporary directory."""
    before = _PLACE.set(folder)
    try:
        yield
    finally:
        _PLACE.reset(before)


def map_scratch(size: int) -> mmap.mmap:
    """Return so many bytes of zeros, mapped from a file without a name.

    Args:
        size: How many, at least 1; a full disk shows now and not while they are filled.

    Raises:
        UserError: If the disk has no room for them.
    """
    place = _PLACE.get()
    try:
        with tempfile.TemporaryFile(dir=place, prefix=".iclprobe-") as file:
            reserve(file.fileno(), size)
            return mmap.mmap(file.fileno(), size)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        where = shown(tempfile.gettempdir() if place is None else place)
        raise UserError(
            f"cannot reserve {size} bytes in {where} for what does not stay in memory: the disk is full or a limit "
            "on file sizes is reached; free some space, or write to another disk (--out, TMPDIR)"
        ) from error


def reserve(descriptor: int, size: int) -> None:
    """Give an open file its full size, with room for all of it where the system can promise that."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)
