"""Bootstrap, spread over draws, and derangements."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from iclprobe.probes import (
    Interval,
    MeanAndStd,
    bootstrap_mean,
    bootstrap_ratio,
    derangement,
    mean_and_std,
    mean_over_layers,
    statistics,
)


def literal_bootstrap(numerators, denominators, seed, resamples, level):
    """Gather each resample, query by query, and take percentiles of the ratio of sums."""
    generator = np.random.default_rng(seed)
    queries = len(numerators)
    ratios = []
    for drawn in generator.integers(queries, size=(resamples, queries)):
        below = sum(denominators[i] for i in drawn)
        if below > 0:
            ratios.append(sum(numerators[i] for i in drawn) / below)
    return np.percentile(ratios, [50 * (1 - level), 50 * (1 + level)])


def test_the_mean_equals_a_literal_bootstrap_column_by_column():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(12, 2, 2, generator=generator, dtype=torch.float64)
    values[3, 0, 1] = values[5, 0, 1] = math.nan
    result = bootstrap_mean(values, seed=3, resamples=60, level=0.9)
    torch.testing.assert_close(result.estimate, values.nanmean(0))
    for layer in range(2):
        for head in range(2):
            column = values[:, layer, head].tolist()
            low, high = literal_bootstrap(
                [0.0 if math.isnan(value) else value for value in column],
                [0 if math.isnan(value) else 1 for value in column],
                seed=3,
                resamples=60,
                level=0.9,
            )
            assert float(result.low[layer, head]) == pytest.approx(low)
            assert float(result.high[layer, head]) == pytest.approx(high)
    assert (result.level, result.resamples) == (0.9, 60)
    assert result.scope == "one draw of demonstrations"


def test_the_ratio_equals_a_literal_bootstrap():
    numerators = [0, 1, 0, 0, 1, 0, 0]
    denominators = [0, 1, 1, 0, 2, 0, 0]
    result = bootstrap_ratio(torch.tensor(numerators), torch.tensor(denominators), seed=1, resamples=200)
    low, high = literal_bootstrap(numerators, denominators, 1, 200, 0.95)
    assert float(result.estimate) == pytest.approx(0.5)
    assert (float(result.low), float(result.high)) == (pytest.approx(low), pytest.approx(high))
    drawn = np.random.default_rng(1).integers(7, size=(200, 7))
    empty = sum(not {1, 2, 4} & set(row) for row in drawn.tolist())
    assert int(result.undefined) == empty > 0


def test_layers_are_resampled_together():
    # Two layers that are each other's negative: their mean is 0 in every joint resample.
    column = torch.randn(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = torch.stack([column, -column], dim=1)
    together = bootstrap_mean(values, seed=0, statistic=mean_over_layers)
    assert together.estimate.shape == ()
    assert float(together.high - together.low) == pytest.approx(0.0, abs=1e-12)
    apart = bootstrap_mean(values, seed=0)
    assert apart.estimate.shape == (2,)
    assert (apart.high - apart.low > 0.3).all()


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = torch.Generator().manual_seed(5)
    samples = torch.randn(60, 400, generator=generator) + 1.0  # 400 experiments of 60 queries
    result = bootstrap_mean(samples, seed=0, resamples=1000, level=0.9)
    covered = float(((result.low <= 1.0) & (result.high >= 1.0)).double().mean())
    # The percentile bootstrap of 60 covers 0.89; the binomial error over 400 experiments is 0.015.
    assert 0.84 < covered < 0.94


def test_nan_layers_are_left_out_and_an_all_nan_layer_stays_nan():
    values = torch.tensor([[1.0, math.nan, 0.0], [3.0, math.nan, math.nan], [2.0, math.nan, math.nan]])
    each = bootstrap_mean(values, seed=0, resamples=300)
    assert each.estimate[0] == 2.0
    assert each.estimate[1].isnan() and each.low[1].isnan() and int(each.undefined[1]) == 300
    assert each.estimate[2] == 0.0 and each.low[2].isnan()  # one query is no interval
    joint = bootstrap_mean(values, seed=0, statistic=mean_over_layers)
    assert float(joint.estimate) == 1.0
    assert joint.low < joint.high


def test_one_query_has_an_estimate_and_no_interval():
    result = bootstrap_mean(torch.tensor([[0.5, 0.7]]), seed=0, statistic=mean_over_layers)
    assert float(result.estimate) == pytest.approx(0.6)
    assert result.low.isnan() and result.high.isnan()
    none = bootstrap_mean(torch.zeros(0, 3), seed=0, resamples=10)
    assert none.estimate.isnan().all() and none.low.isnan().all()


def test_seeds_reproduce_pair_and_ignore_global_state(monkeypatch):
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = bootstrap_mean(values, seed=2, resamples=100)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    again = bootstrap_mean(values, seed=2, resamples=100)
    other = bootstrap_mean(values, seed=3, resamples=100)
    assert torch.equal(first.low, again.low) and torch.equal(first.high, again.high)
    assert not torch.equal(first.low, other.low)
    # The same seed draws the same queries whatever is measured: a shifted measure has a shifted interval.
    shifted = bootstrap_mean(values + 10, seed=2, resamples=100)
    torch.testing.assert_close(shifted.low - 10, first.low, atol=1e-6, rtol=0)
    monkeypatch.setattr(statistics, "CHUNK_ELEMENTS", 7 * 40)
    chunked = bootstrap_mean(values, seed=2, resamples=100)
    torch.testing.assert_close(chunked.low, first.low)
    torch.testing.assert_close(chunked.high, first.high)


def test_unasked_there_are_2000_resamples_and_one_may_be_asked_for():
    values = torch.tensor([1.0, 2.0, 4.0])
    for interval in (bootstrap_mean(values, seed=0), bootstrap_ratio(values, 2 * values, seed=0)):
        assert (interval.resamples, interval.level) == (2000, 0.95)
    single = bootstrap_mean(values, seed=0, resamples=1)
    drawn = np.random.default_rng(0).integers(3, size=3)
    assert float(single.low) == float(single.high) == pytest.approx(float(values[drawn].mean()))


def test_two_queries_are_enough_for_an_interval():
    values = torch.tensor([[1.0], [2.0]])
    for statistic in (None, mean_over_layers):
        interval = bootstrap_mean(values, seed=0, statistic=statistic)
        assert (float(interval.low), float(interval.high)) == (1.0, 2.0)


def test_bad_bootstrap_input_is_refused():
    for level in (0.0, -0.5, 1.0, 1.5):
        with pytest.raises(ValueError, match=f"0 < level < 1, got 2000 and {level}"):
            bootstrap_mean(torch.zeros(3), seed=0, level=level)
    with pytest.raises(ValueError, match=r"one row per query, got \(3, 2\) and \(3,\)"):
        bootstrap_ratio(torch.zeros(3, 2), torch.ones(3), seed=0)
    with pytest.raises(ValueError, match=r"denominators \(3, 3\) do not fit numerators \(3, 2\)"):
        bootstrap_ratio(torch.zeros(3, 2), torch.ones(3, 3), seed=0)
    with pytest.raises(ValueError, match="infinity or NaN"):
        bootstrap_ratio(torch.zeros(2), torch.tensor([1.0, math.inf]), seed=0)
    with pytest.raises(ValueError, match="the smallest is -2"):
        bootstrap_ratio(torch.zeros(3), torch.tensor([1.0, -2.0, -1.0]), seed=0)
    with pytest.raises(ValueError, match="infinity"):
        bootstrap_mean(torch.tensor([1.0, math.inf]), seed=0)
    with pytest.raises(ValueError, match=r"got 0 and 0\.95"):
        bootstrap_mean(torch.zeros(3), seed=0, resamples=0)
    with pytest.raises(ValueError, match="level"):
        bootstrap_mean(torch.zeros(3), seed=0, level=95)
    with pytest.raises(ValueError, match="one row per query"):
        bootstrap_mean(torch.tensor(1.0), seed=0)
    with pytest.raises(ValueError, match="do not fit"):
        bootstrap_ratio(torch.zeros(3), torch.ones(2), seed=0)
    with pytest.raises(ValueError, match="negative"):
        bootstrap_ratio(torch.zeros(2), torch.tensor([1, -1]), seed=0)
    scalar = torch.tensor(0.0)
    with pytest.raises(ValueError, match="one shape"):
        Interval(scalar, scalar, torch.zeros(2), 0.95, 10, scalar)


def test_mean_and_std_over_draws():
    result = mean_and_std([1.0, 2.0, 4.0])
    # Mean 7/3; deviations -4/3, -1/3, 5/3: (16 + 1 + 25) / 9 / 2 = 7/3.
    assert float(result.mean) == pytest.approx(7 / 3)
    assert float(result.std) == pytest.approx(math.sqrt(7 / 3))
    single = mean_and_std([0.4])
    assert float(single.mean) == pytest.approx(0.4)
    assert single.std.isnan()
    table = mean_and_std(torch.tensor([[1.0, math.nan], [3.0, 5.0]]))
    assert table.mean.tolist() == [2.0, 5.0]
    assert float(table.std[0]) == pytest.approx(math.sqrt(2)) and table.std[1].isnan()
    assert table.count.tolist() == [2, 1]
    for wrong in range(3):
        with pytest.raises(ValueError, match=r"must have one shape, got .*\(3,\)"):
            MeanAndStd(*(torch.zeros(3 if place == wrong else 2) for place in range(3)))
    with pytest.raises(ValueError, match="scalar"):
        mean_and_std(torch.tensor(1.0))


@pytest.mark.parametrize("n", [2, 3, 17, 1000])
def test_a_derangement_is_a_permutation_without_fixed_points(n):
    for seed in range(20):
        drawn = derangement(n, seed)
        assert sorted(drawn.tolist()) == list(range(n))
        assert not (drawn == torch.arange(n)).any()
    assert torch.equal(derangement(n, 3), derangement(n, 3))


def test_derangements_are_uniform():
    generator = np.random.default_rng(0)
    seen = Counter(tuple(derangement(4, generator).tolist()) for _ in range(1800))
    assert len(seen) == 9  # four elements have nine derangements, expected 200 times each
    assert all(140 < count < 260 for count in seen.values())


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_elements_have_no_derangement(n):
    with pytest.raises(ValueError, match=f"n={n}"):
        derangement(n, 0)
