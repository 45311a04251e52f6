"""Sensitivity to the order against NumPy over all orders at once, and against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from iclprobe.probes import OrderMoments, SensitivityAggregate, order_sensitivity

AGGREGATES: tuple[SensitivityAggregate, ...] = ("sum_std", "sum_var", "mean_std", "l2")


def answers(orders: int = 5, n: int = 6, vocabulary: int = 11, seed: int = 0) -> torch.Tensor:
    """Log-probabilities `[R, N, V]`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(orders, n, vocabulary, generator=generator).log_softmax(dim=2)


def moments_of(logprobs: torch.Tensor, batch: int = 4) -> OrderMoments:
    """Feed one order after another, its queries in batches that are shuffled anew for each order."""
    orders, n, vocabulary = logprobs.shape
    moments = OrderMoments(n, vocabulary)
    for order in range(orders):
        shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(order))
        for indices in shuffled.split(batch):
            moments.update(indices, logprobs[order, indices])
    return moments


def literal_sensitivity(
    logprobs: torch.Tensor, aggregate: SensitivityAggregate, ddof: int, top_k: int | None
) -> np.ndarray:
    """The definition, one query and token at a time."""
    probabilities = np.exp(logprobs.double().numpy())
    result = []
    for query in range(probabilities.shape[1]):
        tokens = range(probabilities.shape[2])
        means = [float(np.mean(probabilities[:, query, token])) for token in tokens]
        if top_k is not None:
            tokens = sorted(tokens, key=lambda token: (-means[token], token))[:top_k]
        std = [float(np.std(probabilities[:, query, token], ddof=ddof)) for token in tokens]
        result.append(
            {
                "sum_std": sum(std),
                "sum_var": sum(value**2 for value in std),
                "mean_std": sum(std) / len(std),
                "l2": math.sqrt(sum(value**2 for value in std)),
            }[aggregate]
        )
    return np.array(result)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("top_k", [None, 1, 4, 11])
def test_equals_numpy_over_all_orders_at_once(aggregate: SensitivityAggregate, ddof: int, top_k: int | None):
    logprobs = answers()
    found = order_sensitivity(moments_of(logprobs), aggregate, ddof, top_k)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(
        found.numpy(), literal_sensitivity(logprobs, aggregate, ddof, top_k), atol=1e-13, rtol=0
    )


@pytest.mark.parametrize(
    ("aggregate", "ddof", "top_k", "expected"),
    [
        # (.5, .5) and (.9, .1): both deviate by .2 from their means .7 and .3.
        ("sum_std", 0, None, 0.4),
        ("sum_var", 0, None, 0.08),
        ("mean_std", 0, None, 0.2),
        ("l2", 0, None, 0.2 * math.sqrt(2)),
        ("sum_var", 1, None, 0.16),
        ("sum_std", 1, None, 0.4 * math.sqrt(2)),
        ("sum_std", 0, 1, 0.2),
    ],
)
def test_worked_by_hand(aggregate: SensitivityAggregate, ddof: int, top_k: int | None, expected: float):
    moments = OrderMoments(1, 2)
    for row in ([0.5, 0.5], [0.9, 0.1]):
        moments.update(torch.tensor([0]), torch.tensor([row], dtype=torch.float64).log())
    found = order_sensitivity(moments, aggregate, ddof, top_k)
    assert found.item() == pytest.approx(expected, abs=1e-15)


def test_the_default_adds_up_population_standard_deviations_over_the_vocabulary():
    moments = moments_of(answers())
    assert torch.equal(order_sensitivity(moments), order_sensitivity(moments, "sum_std", 0, None))


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("ddof", [0, 1])
def test_equal_distributions_have_a_sensitivity_of_exactly_zero(aggregate: SensitivityAggregate, ddof: int):
    logprobs = answers(orders=1).expand(7, -1, -1)
    assert order_sensitivity(moments_of(logprobs), aggregate, ddof).tolist() == [0.0] * 6


def test_differences_far_below_the_probabilities_are_not_lost():
    # A variance taken as E[p²] - E[p]² would be all rounding here.
    moments, gap = OrderMoments(1, 2), 1e-10
    for sign in (-1, 1, -1, 1):
        row = torch.tensor([[0.5 + sign * gap, 0.5 - sign * gap]], dtype=torch.float64)
        moments.update(torch.tensor([0]), row.log())
    assert order_sensitivity(moments).item() == pytest.approx(2 * gap, rel=1e-5)


def test_ties_of_the_most_probable_tokens_go_to_the_lower_id():
    moments = OrderMoments(1, 3)
    # On average .25, .25, .5: the second place is tied, and only token 1 would have no deviation.
    for row in ([0.2, 0.25, 0.55], [0.3, 0.25, 0.45]):
        moments.update(torch.tensor([0]), torch.tensor([row], dtype=torch.float64).log())
    moments.mean[0] = torch.tensor([0.25, 0.25, 0.5])
    assert order_sensitivity(moments, top_k=2).item() == pytest.approx(0.05 + 0.05, abs=1e-12)


def test_memory_does_not_grow_with_the_orders():
    def numbers(moments: OrderMoments) -> int:
        return sum(value.numel() for value in vars(moments).values() if isinstance(value, torch.Tensor))

    moments = moments_of(answers(orders=9))
    assert numbers(moments) == numbers(OrderMoments(6, 11)) == 2 * 6 * 11 + 6
    assert moments.orders == 9


def test_rows_wider_than_a_chunk(monkeypatch: pytest.MonkeyPatch):
    logprobs = answers()
    whole = order_sensitivity(moments_of(logprobs), top_k=3)
    monkeypatch.setattr("iclprobe.probes.vectors.CHUNK_ELEMENTS", 15)
    assert torch.equal(order_sensitivity(moments_of(logprobs), top_k=3), whole)


def test_queries_with_different_numbers_of_orders_are_refused():
    logprobs = answers()
    moments = moments_of(logprobs)
    moments.update(torch.tensor([2]), logprobs[0, 2:3])
    for ask in (lambda: moments.orders, lambda: order_sensitivity(moments)):
        with pytest.raises(ValueError, match="have had 5 orders and others 6"):
            ask()


@pytest.mark.parametrize("orders", [0, 1])
def test_sensitivity_needs_two_orders(orders: int):
    moments = moments_of(answers(orders=orders))
    assert moments.orders == orders
    with pytest.raises(ValueError, match=f"at least 2 orders, got {orders}"):
        order_sensitivity(moments)


def test_wrong_options_are_refused():
    moments = moments_of(answers(orders=3))
    with pytest.raises(ValueError, match="unknown aggregate 'max', choose one of sum_std"):
        order_sensitivity(moments, "max")  # type: ignore[arg-type]
    for ddof in (-1, 3):
        with pytest.raises(ValueError, match=rf"0\.\.2 for 3 orders, got {ddof}"):
            order_sensitivity(moments, ddof=ddof)
    for top_k in (0, 12):
        with pytest.raises(ValueError, match=rf"the {top_k} most probable of 11"):
            order_sensitivity(moments, top_k=top_k)
    for n, vocabulary in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match=f"got {n} and {vocabulary}"):
            OrderMoments(n, vocabulary)


@pytest.mark.parametrize(
    ("indices", "change", "message"),
    [
        ([0, 6], lambda rows: rows, r"0\.\.5, got \[0, 6\]"),
        ([-1, 0], lambda rows: rows, r"0\.\.5"),
        ([3, 3], lambda rows: rows, "once in an order"),
        ([0, 1, 2], lambda rows: rows, r"\[B, 11\]"),
        ([0, 1], lambda rows: rows[:, :5], r"\[B, 11\]"),
        ([0, 1], lambda rows: rows * math.nan, "NaN or positive"),
        ([0, 1], lambda rows: rows + 30, "NaN or positive"),
        ([0, 1], lambda rows: rows - 1, "add up to 1, got sums between 0.36"),
        ([0, 1], lambda rows: torch.stack([rows[0], rows[1] - 1]), "sums between 0.367879 and 1: give"),
        ([[0, 1]], lambda rows: rows[:1], r"got \(1, 2\) of torch.int64 and \(1, 11\)"),
        ([0.0, 1.0], lambda rows: rows, "of torch.float32"),
    ],
)
def test_a_wrong_batch_is_refused_and_changes_nothing(indices, change, message: str):
    logprobs = answers()
    moments = moments_of(logprobs)
    before = order_sensitivity(moments)
    with pytest.raises(ValueError, match=message):
        moments.update(torch.tensor(indices), change(logprobs[0, :2]))
    assert moments.orders == 5
    assert torch.equal(order_sensitivity(moments), before)


def test_a_batch_of_no_query_adds_nothing():
    moments = moments_of(answers())
    before = order_sensitivity(moments)
    moments.update(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 11))
    assert torch.equal(order_sensitivity(moments), before)
    assert moments.counts.tolist() == [5] * 6 and moments.counts.dtype == torch.int64


def test_a_vocabulary_of_one_token_is_the_same_in_every_order():
    moments = OrderMoments(1, 1)
    for _ in range(2):
        moments.update(torch.tensor([0]), torch.zeros(1, 1))
    assert order_sensitivity(moments).tolist() == [0.0]
