"""What is kept of many queries is what all of them say, however they were batched."""

from __future__ import annotations

import torch

from iclprobe.probes import NullMeans, NullSimilarity, SimAM, SimAMMeans


def cosines(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    values = 2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1
    return values.masked_fill(torch.rand(*shape, generator=generator) < 0.2, torch.nan)


def test_means_are_those_of_the_heads_and_the_same_for_any_batches() -> None:
    values = cosines(57, 3, 4)
    values[:, 1, 2] = torch.nan
    whole, order = SimAM("raw", values).means(), torch.randperm(57)
    for size in (1, 5, 57):
        parts = [SimAM("raw", values[some]).means() for some in order.split(size)]
        joined = SimAMMeans.join(parts, order.argsort())
        for name in ("per_example", "head_profile", "layer_profile", "defined"):
            first, second = (getattr(each, name).nan_to_num(7.0) for each in (joined, whole))
            assert torch.equal(first, second), name
    expected = SimAM("raw", values)
    torch.testing.assert_close(whole.head_profile, expected.head_profile, rtol=0, atol=1e-15, equal_nan=True)
    assert torch.equal(whole.defined, 57 * 4 - expected.undefined)


def test_draws_of_a_null_are_the_same_for_any_batches() -> None:
    draws = cosines(7, 41, 2)
    whole, order = NullSimilarity("gaussian", draws).means(), torch.randperm(41)
    parts = [NullSimilarity("gaussian", draws[:, some]).means() for some in order.split(4)]
    joined = NullMeans.join(parts, order.argsort())
    assert torch.equal(joined.values, whole.values)
    assert torch.equal(joined.draw_profiles, whole.draw_profiles)
    torch.testing.assert_close(whole.values, draws.nanmean(0), rtol=0, atol=1e-15)
    torch.testing.assert_close(whole.draw_profiles, draws.nanmean(1), rtol=0, atol=1e-15)
