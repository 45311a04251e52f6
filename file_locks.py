"""Locks of the kernel on open files: they end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import sys
from typing import BinaryIO, Literal

LockState = Literal["ours", "held", "unknown"]

_LOCKED = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK)
# Behind what the file says: Windows lets nobody read a locked byte.
_LOCKED_BYTE = 1 << 20


def lock_file(file: BinaryIO) -> LockState:
    """Lock a file until it is closed, and say whether somebody else holds the lock, or nobody can know.

    Whoever writes into a file who holds its lock does so only after locking it, and whoever finds the file empty does
    not try: so that trying takes the lock from nobody.

    Args:
        file: An open file.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(_LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(0)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return "held" if error.errno in _LOCKED else "unknown"
    return "ours"
