"""Sparsity and spread of a weight matrix: exact counts in every dtype, against literal sums."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from iclprobe.probes import THRESHOLDS, fraction_below, weight_statistics
from iclprobe.probes.weight_entries import largest_entry, weight_entries
from iclprobe.probes.weights import require_weight

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])


def drawn(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@DTYPES
def test_planted_zeros_are_counted_exactly_at_every_threshold(dtype: torch.dtype) -> None:
    # Rows so wide that the matrix is worked on in several blocks.
    weight = (drawn(24, 40_000).sign() * 0.5).to(dtype)
    planted = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    weight[planted] = 0.0
    exact = planted.double().mean()
    assert fraction_below(weight, THRESHOLDS).tolist() == [exact] * len(THRESHOLDS)
    statistics = weight_statistics(weight, heads=4, stable_rank=False)
    by_head = planted.view(4, -1).double().mean(dim=1)
    assert statistics.head_below is not None
    assert torch.equal(statistics.head_below, by_head[:, None].expand(4, len(THRESHOLDS)))


@DTYPES
def test_all_numbers_against_literal_sums(dtype: torch.dtype) -> None:
    weight = (0.02 * drawn(96, 5000) + 0.05).to(dtype)
    got = weight_statistics(weight, heads=3)
    values = weight.double()
    mean = values.mean()
    deviation = ((values - mean) ** 2).mean().sqrt()
    assert got.mean_absolute == pytest.approx(float(values.abs().mean()), rel=1e-6)
    assert got.standard_deviation == pytest.approx(float(deviation), rel=1e-6)
    assert got.excess_kurtosis == pytest.approx(
        float(((values - mean) ** 4).mean() / deviation**4 - 3), abs=1e-4
    )
    largest = torch.linalg.svdvals(values)[0]
    assert got.stable_rank == pytest.approx(float(values.square().sum() / largest**2), rel=1e-5)
    for index, threshold in enumerate(THRESHOLDS):
        size = weight.float().abs()
        assert got.below[index] == (size < threshold).double().mean()
        relative = (size < threshold * got.standard_deviation).double().mean()
        assert got.below_relative[index] == relative


@DTYPES
@pytest.mark.parametrize("turned", [False, True])
def test_fractions_of_each_head_are_exact_whatever_the_entries(dtype: torch.dtype, turned: bool) -> None:
    # From the smallest subnormal to infinity, both zeros, a block a row; only rows 2, 3 and 5 reach 2.
    exponents = 12 * drawn(6, 150_000) - 8
    signs = drawn(6, 150_000, seed=1).sign()
    weight = (signs * exponents.exp2()).to(dtype)
    weight[[0, 1, 4]] = weight[[0, 1, 4]].clamp(-1.5, 1.5)
    for column, value in enumerate((0.0, -0.0, 2.0, -2.0, math.inf, -math.inf, math.nan, 1e-3, -1e-3)):
        weight[(2, 3, 5)[column % 3], column::5000] = value
    got = weight_statistics(weight.T.contiguous().T if turned else weight, heads=3, stable_rank=False)
    size, defined = weight.float().abs().view(3, -1), weight.isfinite().view(3, -1)
    assert got.undefined == int((~defined).sum()) > 0
    assert got.head_below is not None and got.head_below_relative is not None
    for index, threshold in enumerate(THRESHOLDS):
        for found, limit in (
            (got.head_below, threshold),
            (got.head_below_relative, threshold * got.standard_deviation),
        ):
            want = ((size < limit) & defined).sum(dim=1).double() / defined.sum(dim=1)
            assert torch.equal(found[:, index], want)
    values = weight[weight.isfinite()].double()
    assert got.mean_absolute == pytest.approx(float(values.abs().mean()), rel=1e-6)
    assert got.standard_deviation == pytest.approx(float(values.std(correction=0)), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_the_numbers_of_the_same_weight_in_fp32(dtype: torch.dtype) -> None:
    weight = (0.02 * drawn(64, 3000) + 0.01).to(dtype)
    half, full = weight_statistics(weight, heads=4), weight_statistics(weight.float(), heads=4)
    for name in ("mean_absolute", "standard_deviation", "stable_rank"):
        assert getattr(half, name) == pytest.approx(getattr(full, name), rel=1e-6)
    assert half.excess_kurtosis == pytest.approx(full.excess_kurtosis, abs=1e-4)
    for name in ("below", "head_below"):
        assert torch.equal(getattr(half, name), getattr(full, name))


def test_the_largest_entry_may_be_negative() -> None:
    large = torch.full((2, 3), 3e38)
    assert largest_entry(-large) == float(large[0, 0])


def test_thresholds_are_strict_and_may_be_zero() -> None:
    weight = torch.tensor([[0.0, 0.5], [-0.5, 1.0]])
    assert fraction_below(weight, (0.0, 0.5, 0.6)).tolist() == [0.0, 0.25, 0.75]


def test_undefined_entries_are_counted_and_left_out() -> None:
    weight = torch.tensor([[0.0, math.nan, 1.0, 1.0], [0.0, math.inf, 3.0, -math.inf]])
    got = weight_statistics(weight, (0.5,), heads=2)
    assert (got.entries, got.undefined) == (5, 3)
    assert got.below.tolist() == [2 / 5]
    assert got.head_below is not None and got.head_below[:, 0].tolist() == [1 / 3, 1 / 2]
    assert got.mean_absolute == 1.0
    assert math.isnan(got.stable_rank)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_spread_of_a_constant_in_half_precision_is_exactly_zero(dtype: torch.dtype) -> None:
    got = weight_statistics(torch.full((48, 1000), 0.1, dtype=dtype))
    assert got.standard_deviation == 0.0 and math.isnan(got.excess_kurtosis)


def test_a_matrix_without_a_defined_entry_has_no_numbers() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        got = weight_statistics(torch.full((4, 4), math.nan, dtype=dtype), heads=2)
        assert (got.entries, got.undefined) == (0, 16)
        assert got.below.isnan().all() and math.isnan(got.mean_absolute)
        assert math.isnan(got.standard_deviation) and math.isnan(got.excess_kurtosis)


def test_a_constant_matrix_has_no_kurtosis_and_one_of_zeros_no_rank() -> None:
    assert math.isnan(weight_statistics(torch.ones(3, 4)).excess_kurtosis)
    assert weight_statistics(torch.ones(3, 4)).stable_rank == pytest.approx(1.0)
    assert math.isnan(weight_statistics(torch.zeros(3, 4)).stable_rank)


@DTYPES
def test_entries_are_counted_head_by_head_and_none_is_below_what_is_no_number(dtype: torch.dtype) -> None:
    weight = torch.tensor([[0.0, -0.5, 3.0], [math.nan, 0.25, -1.0]], dtype=dtype)
    counts, defined = weight_entries(weight, 2).below([0.0, math.nan, 0.5, 0.75, math.inf])
    assert counts.tolist() == [[0, 0, 1, 2, 3], [0, 0, 1, 1, 2]]
    assert defined.tolist() == [3, 2]
    assert counts.dtype == defined.dtype == torch.float64


@DTYPES
def test_the_spread_of_tiny_entries_is_that_of_large_ones(dtype: torch.dtype) -> None:
    weight = torch.tensor([[0.0, 1.0, 2.0, 5.0]])
    large, tiny = weight_statistics(weight.to(dtype)), weight_statistics((weight / 1024).to(dtype))
    assert tiny.excess_kurtosis == pytest.approx(large.excess_kurtosis, rel=1e-5)
    assert tiny.stable_rank == pytest.approx(1.0)
    assert tiny.standard_deviation == pytest.approx(large.standard_deviation / 1024, rel=1e-5)


def test_the_largest_entry_of_weights_of_one_byte() -> None:
    weight = torch.tensor([[0.5, -4.0], [1.0, 2.0]]).to(torch.float8_e4m3fn)
    assert largest_entry(weight) == 4.0


def test_what_is_no_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="matrix of floating point"):
        weight_statistics(torch.zeros(2, 2, dtype=torch.int8))
    for wrong in (torch.zeros(2, 2, 2), torch.zeros(4), torch.zeros(0, 3), torch.zeros(3, 0)):
        with pytest.raises(ValueError, match="matrix of floating point"):
            weight_statistics(wrong)
    for heads in (3, 0, -2):
        with pytest.raises(ValueError, match=f"4 rows do not hold {heads} heads"):
            weight_statistics(torch.zeros(4, 6), heads=heads)
    for thresholds in ((-1.0,), (0.5, -1.0), (math.nan, 0.5), ()):
        with pytest.raises(ValueError, match="at least 0"):
            fraction_below(torch.zeros(2, 2), thresholds)


def test_one_entry_and_an_odd_number_of_rows_are_a_matrix() -> None:
    require_weight(torch.zeros(1, 1))
    require_weight(torch.zeros(3, 2))
    assert weight_statistics(torch.tensor([[0.5]])).mean_absolute == 0.5


def test_the_thresholds_are_those_of_the_figures_unless_others_are_given() -> None:
    assert weight_statistics(torch.ones(2, 2)).thresholds == (0.01, 0.001, 0.0001, 0.00001, 0.000001)


def test_statistics_made_by_hand_have_one_fraction_a_threshold() -> None:
    right = weight_statistics(torch.ones(2, 2))
    for name in ("below", "below_relative"):
        with pytest.raises(ValueError, match="expected 5 fractions"):
            dataclasses.replace(right, **{name: torch.zeros(4)})
