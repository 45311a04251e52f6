"""Drift of a weight matrix, against literal sums."""

from __future__ import annotations

import math

import pytest
import torch

from iclprobe.probes import pairwise_mean_absolute, update_cosine, weight_drift


def drawn(seed: int, rows: int = 50, columns: int = 30_000) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_numbers_against_literal_sums(dtype: torch.dtype) -> None:
    before, after = drawn(0).to(dtype), (drawn(0) + 0.01 * drawn(1)).to(dtype)
    got, gap = weight_drift(before, after), after.double() - before.double()
    assert got.mean_absolute == pytest.approx(float(gap.abs().mean()), rel=1e-12)
    assert got.rms == pytest.approx(float(gap.square().mean().sqrt()), rel=1e-12)
    assert got.relative_frobenius == pytest.approx(float(gap.norm() / before.double().norm()), rel=1e-12)
    assert (got.entries, got.undefined) == (before.numel(), 0)


def test_a_matrix_does_not_drift_from_itself() -> None:
    got = weight_drift(drawn(0), drawn(0))
    assert (got.mean_absolute, got.rms, got.relative_frobenius) == (0.0, 0.0, 0.0)


def test_undefined_entries_are_left_out_and_counted() -> None:
    before, after = torch.tensor([[1.0, math.nan, 2.0]]), torch.tensor([[3.0, 1.0, math.inf]])
    got = weight_drift(before, after)
    assert (got.entries, got.undefined, got.mean_absolute) == (1, 2, 2.0)
    assert math.isnan(weight_drift(torch.zeros(1, 2), torch.ones(1, 2)).relative_frobenius)


def test_the_cosine_of_successive_updates() -> None:
    start, step, turn = drawn(0).double(), drawn(1).double(), drawn(2).double()
    assert update_cosine(start, start + step, start + 3 * step) == pytest.approx(1.0)
    assert update_cosine(start, start + step, start) == pytest.approx(-1.0)
    want = torch.nn.functional.cosine_similarity(step.flatten(), turn.flatten(), dim=0)
    assert update_cosine(start, start + step, start + step + turn) == pytest.approx(float(want), abs=1e-9)
    assert math.isnan(update_cosine(start, start, start + step))


def stored(exact: torch.Tensor, size: float, *, same_way: bool) -> list[torch.Tensor]:
    """Three states of a matrix that takes two steps of a size in units of bf16's epsilon, as stored in bf16."""
    steps = [size * 2**-7 * drawn(seed, 100, 1000).double() for seed in (1, 1 if same_way else 2)]
    return [state.bfloat16() for state in (exact, exact + steps[0], exact + steps[0] + steps[1])]


def test_an_update_that_storing_rounds_away_has_no_direction() -> None:
    exact = drawn(0, 100, 1000).double()
    for same_way in (True, False):
        rounded = stored(exact, 0.1, same_way=same_way)
        assert math.isnan(update_cosine(*rounded))
        assert math.isnan(update_cosine(*(state.float() for state in rounded), floor=2**-7))
        # What would be said without: neither 1 for the same way twice, nor 0 for two ways.
        assert update_cosine(*(state.float() for state in rounded)) < 0.1
    assert update_cosine(*stored(exact, 10.0, same_way=True)) == pytest.approx(1.0, abs=0.01)
    assert update_cosine(*stored(exact, 10.0, same_way=False)) == pytest.approx(0.0, abs=0.02)


def test_one_step_of_every_entry_is_rounding_and_ten_are_not() -> None:
    exact = drawn(0, 100, 100).bfloat16()
    generator = torch.Generator().manual_seed(1)
    up = torch.rand(exact.shape, generator=generator) < 0.5

    def stepped(weight: torch.Tensor, count: int) -> torch.Tensor:
        for _ in range(count):
            weight = torch.where(up, weight.nextafter(weight + 1), weight.nextafter(weight - 1))
        return weight

    assert math.isnan(update_cosine(exact, stepped(exact, 1), stepped(exact, 40)))
    assert math.isnan(update_cosine(stepped(exact, 40), stepped(exact, 1), exact))
    assert update_cosine(exact, stepped(exact, 20), stepped(exact, 40)) > 0.9


def test_a_random_walk_has_a_cosine_of_0_and_scatter_about_one_matrix_one_of_minus_a_half() -> None:
    weight, *others = (drawn(seed, 100, 1000).double() for seed in range(4))
    walk = [weight, weight + others[0], weight + others[0] + others[1]]
    # Of 100,000 entries a cosine deviates by about 0.003.
    assert update_cosine(*walk) == pytest.approx(0.0, abs=0.013)
    scattered = [weight + 0.1 * other for other in others]
    assert update_cosine(*scattered) == pytest.approx(-0.5, abs=0.013)


def test_the_cosine_leaves_undefined_entries_out() -> None:
    first, second = torch.zeros(1, 4), torch.tensor([[1.0, 2.0, math.nan, 1.0]])
    third = torch.tensor([[2.0, 4.0, 5.0, math.inf]])
    assert update_cosine(first, second, third) == pytest.approx(1.0)


def test_the_gap_between_every_two_checkpoints() -> None:
    entries = torch.tensor([[0.0, 0.0], [1.0, -3.0], [2.0, math.nan]])
    assert pairwise_mean_absolute(entries).tolist() == [[0.0, 2.0, 2.0], [2.0, 0.0, 1.0], [2.0, 1.0, 0.0]]
    assert pairwise_mean_absolute(entries[:, :1]).tolist() == [
        [0.0, 1.0, 2.0],
        [1.0, 0.0, 1.0],
        [2.0, 1.0, 0.0],
    ]


def test_pairs_of_many_entries_leave_out_what_either_checkpoint_lacks() -> None:
    entries = torch.randn(3, 5000, generator=torch.Generator().manual_seed(0))
    entries[0, 7], entries[1, 4000], entries[2, 4000] = math.nan, math.inf, -math.inf
    got = pairwise_mean_absolute(entries.bfloat16())
    for one in range(3):
        for other in range(3):
            gap = (entries[one].bfloat16().double() - entries[other].bfloat16().double()).abs()
            both = entries[one].isfinite() & entries[other].isfinite()
            assert float(got[one, other]) == pytest.approx(float(gap[both].mean()), rel=1e-12)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="do not compare"):
        weight_drift(torch.zeros(2, 3), torch.zeros(3, 2))


@pytest.mark.parametrize("share", [0.002, 0.1])
def test_an_update_of_a_few_rows_has_a_direction_where_it_is_more_than_their_rounding(share: float) -> None:
    first = torch.randn(512, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    rows = max(1, round(share * len(first)))
    second, third = first.clone(), first.clone()
    second[:rows] *= 1.05
    third[:rows] = second[:rows] * 1.05
    assert update_cosine(first, second, third) == pytest.approx(1.0, abs=0.01)
    # One step of bfloat16 in a few entries is what rounding looks like.
    second, third = first.clone(), first.clone()
    second[:rows] = torch.nextafter(first[:rows], torch.tensor(torch.inf, dtype=torch.bfloat16))
    third[:rows] = torch.nextafter(second[:rows], torch.tensor(torch.inf, dtype=torch.bfloat16))
    assert math.isnan(update_cosine(first, second, third))


def test_a_matrix_without_a_finite_entry_has_no_drift() -> None:
    got = weight_drift(torch.full((2, 3), math.nan), torch.zeros(2, 3))
    assert (got.entries, got.undefined) == (0, 6)
    assert math.isnan(got.mean_absolute) and math.isnan(got.rms) and math.isnan(got.relative_frobenius)


def test_the_relative_drift_of_small_weights_is_that_of_large_ones() -> None:
    before, after = torch.tensor([[0.003, 0.004]]), torch.tensor([[0.003, 0.005]])
    assert weight_drift(before, after).relative_frobenius == pytest.approx(0.2, rel=1e-5)


def test_what_is_missing_from_one_state_is_left_out_of_both_updates() -> None:
    states = [
        torch.tensor([[0.0, 1.0, 5.0]]),
        torch.tensor([[1.0, 1.5, 6.0]]),
        torch.tensor([[2.0, 2.0, 9.0]]),
    ]
    for place in range(3):
        broken = [state.clone() for state in states]
        broken[place][0, 2] = math.nan
        assert update_cosine(*broken) == pytest.approx(1.0)


def test_a_second_update_of_zero_has_no_direction_either() -> None:
    assert math.isnan(update_cosine(torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2)))


def test_the_coarsest_dtype_says_what_is_rounding() -> None:
    rounded = stored(drawn(0, 100, 1000).double(), 0.1, same_way=True)
    for coarse in range(3):
        assert math.isnan(update_cosine(*(s if i == coarse else s.float() for i, s in enumerate(rounded))))


def test_rounding_goes_with_the_entries_that_an_update_moved_as_they_are_between_the_updates() -> None:
    def of(*states: list[float]) -> float:
        return update_cosine(*(torch.tensor([state]) for state in states), floor=1e-3)

    # The small entry moves by a tenth of itself, then the large one by a tenth of it.
    assert of([1.0, 1000.0], [1.1, 1000.0], [1.1, 1100.0]) == 0.0
    # Half a thousandth of the large entry is rounding, before or after.
    assert math.isnan(of([1.0, 1000.0], [1.1, 1000.0], [1.1, 1000.5]))
    assert math.isnan(of([1.1, 1000.5], [1.1, 1000.0], [1.0, 1000.0]))
    # A weight that shrank to 1 and then moves by 0.01 moves by more than its rounding there.
    assert of([100.0], [1.0], [1.01]) == pytest.approx(-1.0)
