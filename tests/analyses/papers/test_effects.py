"""Effects and verdicts, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from iclprobe.analyses.papers.effects import (
    Criterion,
    Effect,
    fitted_change,
    over_queries,
    over_units,
    ratio_over_queries,
    share_that,
)

NAN = math.nan


def effect(value: float, low: float, high: float) -> Effect:
    return Effect(value, low, high, "by hand")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 0.3, "holds"),
        (-0.1, 0.3, "undecided"),
        (-0.3, -0.1, "fails"),
        (NAN, NAN, "undecided"),
        (-1, 0, "fails"),
    ],
)
def test_above_holds_only_with_its_whole_interval(low: float, high: float, verdict: str) -> None:
    assert Criterion(above=0).judge(effect((low + high) / 2, low, high)) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.05, 0.05, "holds"),
        (-0.2, 0.05, "undecided"),
        (0.05, 0.2, "undecided"),
        (0.1, 0.2, "fails"),
        (-0.3, -0.1, "fails"),
        (-0.3, 0.3, "undecided"),
    ],
)
def test_between_needs_both_ends_inside(low: float, high: float, verdict: str) -> None:
    assert Criterion(above=-0.1, below=0.1).judge(effect((low + high) / 2, low, high)) == verdict


def test_a_criterion_says_what_it_asks_and_must_ask_something() -> None:
    assert str(Criterion(above=0.5)) == "> 0.5"
    assert str(Criterion(below=0)) == "< 0"
    assert str(Criterion(above=-0.1, below=0.1)) == "-0.1 to 0.1"
    with pytest.raises(ValueError, match="bound"):
        Criterion()
    with pytest.raises(ValueError, match="bound"):
        Criterion(above=1, below=0)


def test_the_interval_over_draws_is_students() -> None:
    # Mean 2, standard deviation 1, three draws: 2 ± 4.303 / √3.
    found = over_units([1.0, 2.0, 3.0], "draws")
    assert (found.value, found.low, found.high) == pytest.approx(
        (2.0, 2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5)
    )
    assert over_units([1.0, NAN, 3.0], "draws").low == pytest.approx(2 - 12.706 * 2**0.5 / 2**0.5)
    single = over_units([1.0], "draws")
    assert single.value == 1.0 and math.isnan(single.low)
    assert math.isnan(over_units([], "draws").value)


def test_equal_draws_have_an_interval_without_width() -> None:
    found = over_units([0.5, 0.5, 0.5], "draws")
    assert (found.low, found.high) == (0.5, 0.5)


def test_the_interval_over_queries_holds_the_mean_and_narrows() -> None:
    values = torch.tensor([0.0, 1.0] * 50, dtype=torch.float64)
    found = over_queries(values)
    assert found.value == 0.5 and 0.35 < found.low < 0.5 < found.high < 0.65
    ratio = ratio_over_queries(torch.tensor([1, 0, 1, 0] * 25), torch.ones(100, dtype=torch.int64))
    assert ratio.value == 50.0 and 35 < ratio.low < 50 < ratio.high < 65


def test_a_share_is_spanned_by_cases_that_are_undecided() -> None:
    cases = [effect(2, 1, 3), effect(1, -1, 3), effect(-2, -3, -1), effect(NAN, NAN, NAN)]
    found = share_that(cases, Criterion(above=0), "tasks")
    # One holds, one is undecided (its value is above), one fails; the undefined one is left out.
    assert (found.value, found.low, found.high) == pytest.approx((2 / 3, 1 / 3, 2 / 3))
    assert "3 of 4 tasks" in found.basis
    assert math.isnan(share_that([cases[-1]], Criterion(above=0), "tasks").value)


def test_the_fitted_change_of_a_straight_line_is_exact() -> None:
    found = fitted_change([3.0, 2.0, 1.0])
    assert (found.value, found.low, found.high) == pytest.approx((-1.0, -1.0, -1.0))
    noisy = fitted_change([1.0, 1.1, 0.9, 1.0, 1.1, 0.9])
    assert noisy.low < noisy.value < noisy.high
    # By hand: slope of (0, 1, 0) over places (0, .5, 1) is 0, residuals (-1/3, 2/3, -1/3), error √(2/3 / .5).
    peak = fitted_change([0.0, 1.0, 0.0])
    assert peak.value == pytest.approx(0.0)
    assert peak.high == pytest.approx(12.706 * ((6 / 9) / 1 / 0.5) ** 0.5 / (1 / 3))
