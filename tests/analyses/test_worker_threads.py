"""Working through a series: in order, few things held at once, the first error, and torch's threads as before."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator

import pytest
import torch

from iclprobe.analyses.worker_threads import work_through


class Thing:
    def __init__(self, number: int) -> None:
        self.number = number


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0.0)
        return number * number

    assert work_through(iter(range(20)), slow_at_first) == tuple(number * number for number in range(20))
    assert work_through((), slow_at_first) == ()


def test_several_threads_work_at_once_and_each_has_one_torch_thread() -> None:
    meeting = threading.Barrier(3, timeout=20)

    def meet(_: int) -> int:
        meeting.wait()
        return torch.get_num_threads()

    assert work_through(range(3), meet) == (1, 1, 1)
    assert torch.get_num_threads() == 3


def test_no_more_items_are_held_than_there_are_threads() -> None:
    alive: weakref.WeakSet[Thing] = weakref.WeakSet()
    most = []

    def draw() -> Iterator[Thing]:
        for number in range(30):
            thing = Thing(number)
            alive.add(thing)
            most.append(len(alive))
            yield thing
            del thing

    assert work_through(draw(), lambda thing: thing.number) == tuple(range(30))
    assert 1 <= max(most) <= 3


@pytest.mark.parametrize("where", ["drawing", "working"])
def test_the_first_error_is_raised_and_nothing_follows_it(where: str) -> None:
    drawn = []

    def draw() -> Iterator[int]:
        for number in range(1000):
            if where == "drawing" and number == 5:
                raise ValueError("item 5")
            drawn.append(number)
            yield number

    def work(number: int) -> int:
        if number == 5:
            time.sleep(0.05)
            raise ValueError("item 5")
        if number == 6:
            raise ValueError("item 6")
        return number

    with pytest.raises(ValueError, match="item 5"):
        work_through(draw(), work)
    assert len(drawn) < 100
    assert torch.get_num_threads() == 3
