"""What a change does to answers: against its definition, undefined where there is no way to go, and its parts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from iclprobe.probes import (
    along,
    closed,
    gaussian_of_length,
    halves,
    label_divergence,
    means_of_halves,
    transfer_outcomes,
    vocabulary_divergence,
)

N, S, K, C = 12, 2, 3, 4


def _drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double().log_softmax(-1)


def _literal(patched: np.ndarray, zero_shot: np.ndarray, icl: np.ndarray) -> tuple[float, float]:
    """Both forms of closed by their definition, of some queries of one draw."""
    v_p, v_z, v_i = (each - each.mean(axis=1, keepdims=True) for each in (patched, zero_shot, icl))
    plain = 1 - ((v_p - v_i) ** 2).sum() / ((v_z - v_i) ** 2).sum()
    left, to_go = (each - v_i - (each - v_i).mean(axis=0) for each in (v_p, v_z))
    return plain, 1 - (left**2).sum() / (to_go**2).sum()


def test_outcomes_are_their_definitions() -> None:
    patched, zero_shot, icl = _drawn(N, S, K, C), _drawn(N, S, C, seed=1), _drawn(N, S, C, seed=2)
    patched[3, 0, 1] = torch.nan  # One query has no update there.
    kl, before = torch.rand(N, S, K).double(), 1 + torch.rand(N, S).double()
    got = transfer_outcomes(patched, zero_shot, icl, kl, before, seed=0, resamples=50)
    assert got.defined.tolist() == [N * S, N * S - 1, N * S]
    for place in range(K):
        wanted = []
        for draw in range(S):
            there = ~patched[:, draw, place].isnan().any(-1)
            p, z, i = (
                each[there].numpy() for each in (patched[:, draw, place], zero_shot[:, draw], icl[:, draw])
            )
            own, other = (np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in (i, p))
            divergence = (own * np.log(own / other)).sum(1)
            share = 1 - kl[there, draw, place].sum() / before[there, draw].sum()
            agree = (p.argmax(1) == i.argmax(1)).mean()
            wanted.append(
                (*_literal(p, z, i), agree, divergence.mean(), float(kl[there, draw, place].mean()), share)
            )
        values = [float(interval.estimate[place]) for interval in got.intervals().values()]
        assert values == pytest.approx(np.array(wanted).mean(axis=0).tolist(), abs=1e-12)


def test_intervals_are_those_of_resampled_queries() -> None:
    patched, zero_shot, icl = _drawn(N, C), _drawn(N, C, seed=1), _drawn(N, C, seed=2)
    got = closed(patched, zero_shot, icl, seed=3, resamples=400)
    generator = np.random.default_rng(3)
    drawn = generator.integers(N, size=(400, N))
    resampled = np.array(
        [_literal(*(each.numpy()[rows] for each in (patched, zero_shot, icl))) for rows in drawn]
    )
    for place, interval in enumerate(got):
        assert float(interval.estimate) == pytest.approx(
            _literal(patched.numpy(), zero_shot.numpy(), icl.numpy())[place]
        )
        low, high = np.quantile(resampled[:, place], (0.025, 0.975))
        assert (float(interval.low), float(interval.high)) == pytest.approx((low, high), abs=1e-9)


def test_closed_is_1_for_icl_0_for_zero_shot_and_knows_a_shared_shift_from_what_is_particular() -> None:
    zero_shot, particular = torch.randn(N, C).double(), torch.randn(N, C).double()
    shift = torch.tensor([2.0, -1.0, 0.5, -1.5]).double()
    icl = zero_shot + shift + particular
    assert [float(each.estimate) for each in closed(icl, zero_shot, icl)] == pytest.approx([1, 1])
    assert [float(each.estimate) for each in closed(zero_shot, zero_shot, icl)] == pytest.approx([0, 0])
    # What is added to all labels of a query changes no answer.
    assert float(closed(icl + 7, zero_shot, icl)[0].estimate) == pytest.approx(1)
    shifted, alone = closed(zero_shot + shift, zero_shot, icl)
    assert float(shifted.estimate) > 0.3 and float(alone.estimate) == pytest.approx(0, abs=1e-9)
    assert float(closed(icl - shift, zero_shot, icl)[1].estimate) == pytest.approx(1)


def test_without_a_way_to_go_it_is_undefined_and_not_zero() -> None:
    zero_shot = _drawn(N, C)
    for patched in (zero_shot, _drawn(N, C, seed=1)):
        for interval in closed(patched, zero_shot, zero_shot):
            assert math.isnan(float(interval.estimate)) and math.isnan(float(interval.low))
    # A change that is only rounding is none.
    moved = zero_shot + 1e-6 * torch.randn(N, C).double()
    assert math.isnan(float(closed(moved, zero_shot, moved, floor=1e-4)[0].estimate))
    # Beside longer ones a short one counts as it is.
    moved[0] += torch.tensor([1.0, 0, 0, -1.0]).double()
    counted, plain = (closed(zero_shot, zero_shot, moved, floor=floor)[0] for floor in (1e-4, 0.0))
    assert torch.equal(counted.estimate, plain.estimate)
    # One shift for all queries leaves nothing particular.
    shift = torch.tensor([1.0, 0.0, 0.0, -1.0]).double()
    plain, particular = closed(zero_shot, zero_shot, zero_shot + shift)
    assert float(plain.estimate) == pytest.approx(0) and math.isnan(float(particular.estimate))
    nothing = torch.full((N, C), torch.nan)
    assert math.isnan(float(closed(nothing, zero_shot, _drawn(N, C, seed=2))[0].estimate))


def test_divergences() -> None:
    reference, other = _drawn(5), _drawn(3, 5, seed=1)
    want = (reference.exp() * (reference - other)).sum(-1)
    torch.testing.assert_close(vocabulary_divergence(reference, other), want)
    assert vocabulary_divergence(reference, reference[None]).item() == pytest.approx(0, abs=1e-12)
    # Over some tokens alone, renormalised: what is added to all of them is nothing.
    torch.testing.assert_close(label_divergence(reference - 3, other + 1), want)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="N, S, K, C"):
        transfer_outcomes(
            _drawn(N, S, K, C), _drawn(N, C), _drawn(N, S, C), torch.zeros(N, S, K), torch.zeros(N, S), seed=0
        )


def test_parts_add_up_and_the_remainder_is_orthogonal() -> None:
    update, direction = torch.randn(6, 3, 8).double(), torch.randn(6, 3, 8).double()
    direction[2, 1] = 0
    part = along(update, direction)
    assert ((update - part) * direction).sum(-1).abs().max() < 1e-12
    cosine = torch.nn.functional.cosine_similarity(part, direction, dim=-1).abs()
    assert cosine[direction.any(-1)].min() > 1 - 1e-12
    assert not part[2, 1].any()
    assert torch.equal(along(direction, direction)[2, 1], direction[2, 1])


def test_each_half_has_the_mean_of_its_own() -> None:
    half = halves(9, seed=4)
    assert sorted(half.tolist()) == [0] * 5 + [1] * 4 and torch.equal(half, halves(9, seed=4))
    assert any(not torch.equal(half, halves(9, seed=seed)) for seed in range(3))
    before, after = torch.randn(9, 2, 3), torch.randn(9, 2, 3)
    updates, means = after.double() - before.double(), means_of_halves(before, after, half)
    for each in (0, 1):
        rows = [updates[index] for index in range(9) if half[index] == each]
        torch.testing.assert_close(means[each], torch.stack(rows).mean(0))
    with pytest.raises(ValueError, match="two"):
        halves(1, seed=0)


def test_gaussians_are_as_long_as_they_shall_be() -> None:
    lengths = torch.tensor([[0.0, 2.5], [1e-3, 40.0]])
    drawn = gaussian_of_length(lengths, 64, seed=1)
    torch.testing.assert_close(torch.linalg.vector_norm(drawn, dim=-1), lengths.double())
    assert torch.equal(drawn, gaussian_of_length(lengths, 64, seed=1))
    other = gaussian_of_length(lengths, 64, seed=2)
    assert torch.nn.functional.cosine_similarity(drawn[0, 1], other[0, 1], dim=0).abs() < 0.5
