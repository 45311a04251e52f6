"""Means over draws and paired differences, against what numpy and scipy say by hand."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from iclprobe.analyses.gather.paired import mean_over_draws, paired_p


@pytest.mark.parametrize("count", [2, 3, 5, 40])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_a_mean_has_students_interval(count: int, level: float) -> None:
    values = np.random.default_rng(count).normal(3, 2, count)
    over = mean_over_draws(values.tolist(), level)
    error = np.sqrt(((values - values.sum() / count) ** 2).sum() / (count - 1)) / np.sqrt(count)
    low, high = stats.t.interval(level, count - 1, values.mean(), error)
    assert over.draws == count
    assert (over.mean, over.std) == pytest.approx((values.mean(), values.std(ddof=1)))
    assert (over.low, over.high) == pytest.approx((low, high))
    assert (over.low, over.high) == pytest.approx(
        tuple(stats.ttest_1samp(values, 0).confidence_interval(level))
    )


def test_a_single_draw_has_no_deviation() -> None:
    over = mean_over_draws([0.25], 0.95)
    assert (over.draws, over.mean) == (1, 0.25)
    assert all(math.isnan(value) for value in (over.std, over.low, over.high))


def by_hand(differences: np.ndarray) -> float:
    """Return the share of all flips of signs whose mean is as far from zero."""
    means = [abs(np.mean(signs * differences)) for signs in product((1, -1), repeat=len(differences))]
    return float(np.mean(np.array(means) >= abs(differences.mean()) * (1 - 1e-9)))


@pytest.mark.parametrize("count", [6, 7, 10, 12])
@pytest.mark.parametrize("shift", [0.0, 0.4, 3.0, -3.0])
def test_a_p_is_that_of_all_flips_of_signs(count: int, shift: float) -> None:
    differences = np.random.default_rng(count).normal(shift, 1, count)
    assert paired_p(differences.tolist()) == pytest.approx(by_hand(differences))


@pytest.mark.parametrize(
    "differences", [[1.0] * 6, [-1.0] * 6, [0.0] * 6, [1, 1, 1, -1, -1, -1], [0.1, 0.2, 0.3] * 2]
)
def test_ties_count(differences: list[float]) -> None:
    assert paired_p(differences) == pytest.approx(by_hand(np.array(differences)))


def test_the_smallest_p_is_two_in_all_flips() -> None:
    assert paired_p([1.0, 2.0, 3.0, 1.5, 2.5, 0.5]) == pytest.approx(2 / 2**6)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_so_few_draws_that_nothing_could_be_found_have_no_p(count: int) -> None:
    assert math.isnan(paired_p([1.0] * count))


def test_a_p_of_many_draws_is_the_same_each_time_and_close() -> None:
    differences = np.random.default_rng(1).normal(0.5, 1, 20)
    p = paired_p(differences.tolist())
    assert p == paired_p(differences.tolist())
    assert p == pytest.approx(by_hand(differences[:16]), abs=0.2) and p >= 1e-4
    assert p == pytest.approx(stats.ttest_1samp(differences, 0)[1], abs=0.03)
