"""A process that runs studies for another one, and ends when that one does.

It imports nothing of weight, so that it watches before torch is there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from threading import Thread

from ...unfinished import remove_open_places


def begin_worker(life: Connection, threads: int) -> None:
    """Prepare a process: end with the one that began it, and leave being interrupted or terminated to that.

    Args:
        life: The end of a pipe whose other end is closed when work is over, or its process is gone.
        threads: Threads of torch.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A pool of which one process is gone ends the others so, in the middle of putting away what they had begun.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Thread(target=_end_with, args=(life,), name="end with parent", daemon=True).start()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import torch

    torch.set_num_threads(threads)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Let processes that begin meanwhile hear no Ctrl-C, from their first instruction; one for this process waits."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(life: Connection) -> None:
    # Nothing is ever sent: what can be read is that the other end is closed.
    wait([life])
    # A study may run for hours, and what it has begun to write is all that has to be put away.
    remove_open_places()
    os._exit(1)
