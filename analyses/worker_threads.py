"""Working through a series on all cores, each thing read when a thread is free for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def work_through(
    items: Iterable[Item], work: Callable[[Item], Result], *, device: str = "cpu"
) -> tuple[Result, ...]:
    """Return ``work(item)`` of each item, in their order.

    There are as many threads as torch may use on the CPU, each with one torch thread (as every thread of the process
    that first uses torch meanwhile); an accelerator gets two, so that it works while the next item is read. A thread
    draws an item and works on it while the others do so; no two draw at once, and memory holds as many items as there
    are threads.

    Args:
        items: What to work on; an iterator that reads each item when it is drawn.
        work: Called in any of the threads.
        device: Where the work is done.

    Raises:
        Exception: The error of the first item, in their order, that could not be drawn or worked on; what comes
            after it is left alone.
    """
    allowed = torch.get_num_threads()
    count = allowed if torch.device(device).type == "cpu" else 2
    iterator, drawing = iter(items), Lock()
    results: dict[int, Result] = {}
    failed: dict[int, BaseException] = {}
    drawn, stopped = 0, False

    def draw_and_work() -> None:
        nonlocal drawn, stopped
        while True:
            with drawing:
                if stopped:
                    return
                place, drawn = drawn, drawn + 1
                try:
                    item = next(iterator)
                except StopIteration:
                    return
                except BaseException as error:
                    stopped, failed[place] = True, error
                    return
            try:
                results[place] = work(item)
            except BaseException as error:
                stopped, failed[place] = True, error
                return
            # Let go of it before the next is drawn.
            del item

    pool = ThreadPoolExecutor(count, "worker", initializer=torch.set_num_threads, initargs=(1,))
    try:
        for thread in [pool.submit(draw_and_work) for _ in range(count)]:
            thread.result()
    finally:
        stopped = True
        pool.shutdown()
        torch.set_num_threads(allowed)
    if failed:
        raise failed[min(failed)]
    return tuple(results[place] for place in sorted(results))
