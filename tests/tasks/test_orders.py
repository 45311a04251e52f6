"""Orders of demonstrations: different ones, reproducible, the drawn one first, all of them where they are few."""

from __future__ import annotations

import math

import pytest

from iclprobe.errors import UserError
from iclprobe.tasks.orders import distinct_orders


def test_all_orders_in_lexicographic_order_where_they_are_few():
    expected = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    assert distinct_orders(3, 6, seed=0) == expected
    assert distinct_orders(3, 10, seed=1) == expected
    assert distinct_orders(2, 2, seed=0) == ((0, 1), (1, 0))


@pytest.mark.parametrize(("n", "count"), [(3, 2), (4, 23), (8, 10), (32, 10), (512, 3)])
def test_else_so_many_different_permutations_the_drawn_order_first(n: int, count: int):
    for seed in range(5):
        orders = distinct_orders(n, count, seed)
        assert len(orders) == len(set(orders)) == count
        assert orders[0] == tuple(range(n))
        assert all(sorted(order) == list(range(n)) for order in orders)


def test_a_draw_is_reproducible_and_depends_on_the_seed():
    assert distinct_orders(8, 10, 3) == distinct_orders(8, 10, 3)
    assert distinct_orders(8, 10, 3) != distinct_orders(8, 10, 4)


def test_fewer_orders_are_the_beginning_of_more_orders():
    assert distinct_orders(8, 4, 0) == distinct_orders(8, 10, 0)[:4]


def test_every_order_can_be_drawn():
    drawn = {distinct_orders(3, 2, seed)[1] for seed in range(60)}
    assert len(drawn) == math.factorial(3) - 1


@pytest.mark.parametrize(
    ("n", "count", "message"), [(1, 10, "order of 1"), (0, 10, "order of 0"), (8, 1, "1 order")]
)
def test_a_single_order_is_refused(n: int, count: int, message: str):
    with pytest.raises(UserError, match=message):
        distinct_orders(n, count, seed=0)
