"""Moments of a weight's entries: of blocks as unlike as can be, merged, against sums over all entries."""

from __future__ import annotations

import math
from dataclasses import astuple

import pytest
import torch

from iclprobe.probes.weight_moments import Moments, merged, moments_of_block, moments_of_counts


def blocks() -> list[torch.Tensor]:
    """Blocks of different sizes, means, spreads and skews, one of them without a finite entry."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(7, 3, generator=generator).exp(),
        torch.full((2, 2), math.nan),
        3 - 2 * torch.rand(50, 2, generator=generator) ** 3,
        torch.tensor([[math.inf, -5.0, -5.5, -math.inf]]),
        torch.randn(13, 1, generator=generator) - 1,
    ]


def literal(entries: torch.Tensor) -> Moments:
    finite = [float(entry) for entry in entries.flatten() if math.isfinite(entry)]
    mean = math.fsum(finite) / len(finite)
    powers = [math.fsum((entry - mean) ** power for entry in finite) for power in (2, 3, 4)]
    return Moments(len(finite), math.fsum(abs(entry) for entry in finite), mean, *powers)


def close(moments: Moments, rel: float) -> object:
    return tuple(pytest.approx(number, rel=rel) for number in astuple(moments))


def test_merged_blocks_have_the_moments_of_all_their_entries() -> None:
    parts = [moments_of_block(block.double()) for block in blocks()]
    want = literal(torch.cat([block.flatten() for block in blocks()]))
    assert astuple(merged(parts)) == close(want, 1e-10)
    assert astuple(merged(parts[::-1])) == close(want, 1e-10)
    assert astuple(merged([merged(parts[:2]), merged(parts[2:])])) == close(want, 1e-10)


def test_a_block_has_the_moments_of_its_finite_entries() -> None:
    for block in blocks():
        if block.isfinite().any():
            assert astuple(moments_of_block(block)) == close(literal(block), 1e-4)
    assert moments_of_block(torch.full((2, 2), math.nan)).entries == 0


def test_entries_counted_by_value_have_the_moments_of_the_entries() -> None:
    values, counts = torch.tensor([-1.0, 0.5, 4.0]).double(), torch.tensor([3.0, 2.0, 1.0]).double()
    want = literal(torch.tensor([-1.0, -1.0, -1.0, 0.5, 0.5, 4.0]))
    assert astuple(moments_of_counts(values, counts)) == close(want, 1e-12)
    assert moments_of_counts(values[:0], counts[:0]).entries == 0


def test_what_follows_from_the_moments() -> None:
    moments = literal(torch.tensor([0.0, 1.0, 2.0, 5.0]))
    # Mean 2; squared deviations 4, 1, 0, 9; fourth powers 16, 1, 0, 81.
    assert (moments.mean_absolute, moments.squares) == (2.0, 30.0)
    assert moments.deviation == pytest.approx(math.sqrt(14 / 4))
    assert moments.excess_kurtosis == pytest.approx(4 * 98 / 14**2 - 3)


def test_without_an_entry_there_is_nothing_to_say_and_nothing_to_merge() -> None:
    for none in (merged([]), merged([moments_of_block(torch.full((3,), math.nan))])):
        assert astuple(none) == (0, 0.0, 0.0, 0.0, 0.0, 0.0)
        assert (
            math.isnan(none.mean_absolute) and math.isnan(none.deviation) and math.isnan(none.excess_kurtosis)
        )
