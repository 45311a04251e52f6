"""Processes that run studies for this one, and end when this one does.

They import nothing of weight, so that they watch before torch is there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from threading import Thread

from .errors import UserError
from .unfinished import remove_open_places


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@contextmanager
def worker_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Give processes that share this one's cores; when the block ends in whatever way, they end.

    Submit work within `deaf_to_interrupts`, since processes begin when there is some.

    Args:
        count: How many.

    Raises:
        UserError: If one of them was ended from outside.
    """
    spawn = get_context("spawn")
    watched, held = spawn.Pipe(duplex=False)
    threads = max(1, available_cores() // count)
    pool = ProcessPoolExecutor(count, spawn, initializer=begin_worker, initargs=(watched, threads))
    try:
        yield pool
    except BrokenProcessPool as error:
        held.close()
        raise UserError(
            "a process that ran a study was ended from outside, perhaps for want of memory: try again with "
            "fewer processes (--workers)"
        ) from error
    except BaseException:
        # Ctrl-C, or an error: nobody waits for what is still running, which ends here.
        held.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        held.close()
        watched.close()


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
