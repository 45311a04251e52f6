"""In which orders one draw of demonstrations is shown and trained on."""

from __future__ import annotations

import itertools
import math

import numpy

from ..errors import UserError
from ..seeds import derive_seed


def distinct_orders(n: int, count: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Return different orders of n demonstrations, the order in which they were drawn first.

    Where n! is at most `count` these are all n! orders, in lexicographic order; else they are drawn at random,
    and a smaller count gives the beginning of a larger one. Shen et al. (App. A) take 10 orders of 8.

    Args:
        n: How many demonstrations, at least 2: a single one has no other order.
        count: How many orders, at least 2; fewer come back where there are no more.
        seed: Seed of the draw.

    Returns:
        Permutations of ``0..n-1``, each once.

    Raises:
        UserError: If there would be no second order.
    """
    if n < 2:
        raise UserError(f"There is no second order of {n} demonstration(s): ask for at least 2 shots.")
    if count < 2:
        raise UserError(f"Cannot compare {count} order(s) of the demonstrations: ask for at least 2.")
    if math.factorial(n) <= count:
        return tuple(itertools.permutations(range(n)))
    generator = numpy.random.default_rng(derive_seed("tasks", "distinct orders", n, seed))
    # A dictionary keeps the orders in which they came, each once.
    orders: dict[tuple[int, ...], None] = {tuple(range(n)): None}
    while len(orders) < count:
        orders[tuple(generator.permutation(n).tolist())] = None
    return tuple(orders)
