"""Top tokens, token overlap and OCS against sorting and sums written out, and against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from iclprobe.probes import OverlapNorm, TopTokens, overlap_cosine_similarity, token_overlap, top_tokens

NORMS: tuple[OverlapNorm, ...] = ("sqrt_k_minus_o", "k_minus_o", "none", "topk_cosine")


def logprobs_of(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def distributions(
    n: int = 40, vocabulary: int = 12, seed: int = 0, levels: int | None = None
) -> torch.Tensor:
    """Random log-probabilities; with `levels` of few different values, so that there are many ties."""
    logits = 3 * torch.randn(n, vocabulary, generator=torch.Generator().manual_seed(seed))
    if levels is not None:
        logits = (logits * levels / 8).round()
    return logits.log_softmax(dim=1)


def literal_top(row: list[float], k: int) -> list[int]:
    return sorted(range(len(row)), key=lambda token: (-row[token], token))[:k]


def literal_ocs(p1: list[float], p2: list[float], k: int, norm: OverlapNorm) -> float:
    """Eq. 6 with the readings of R12, one query at a time."""
    t1, t2 = set(literal_top(p1, k)), set(literal_top(p2, k))
    shared = t1 & t2
    if not shared:
        return 0.0
    if norm == "topk_cosine":
        first = [p1[t] if t in t1 else 0.0 for t in sorted(t1 | t2)]
        second = [p2[t] if t in t2 else 0.0 for t in sorted(t1 | t2)]
        dot = sum(a * b for a, b in zip(first, second, strict=True))
        return dot / math.sqrt(sum(a * a for a in first) * sum(b * b for b in second))
    dot = sum(p1[t] * p2[t] for t in shared)
    below = sum(p1[t] ** 2 for t in shared) * sum(p2[t] ** 2 for t in shared)
    missing = max(1, k - len(shared))
    if norm == "sqrt_k_minus_o":
        return dot / math.sqrt(below * missing)
    return dot / math.sqrt(below) / (missing if norm == "k_minus_o" else 1)


# With K = 4 the first two tokens are shared. On them p1 p2 = .12 + .12 and both squared norms are .25;
# the other two of each add .15² + .1² = .0325.
FIRST = logprobs_of([0.4, 0.3, 0.15, 0.1, 0.03, 0.02])
SECOND = logprobs_of([0.3, 0.4, 0.01, 0.04, 0.15, 0.1])


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("sqrt_k_minus_o", 0.24 / math.sqrt(0.25 * 0.25 * 2)),
        ("k_minus_o", 0.24 / 0.25 / 2),
        ("none", 0.96),
        ("topk_cosine", 0.24 / 0.2825),
    ],
)
def test_worked_by_hand(norm: OverlapNorm, expected: float):
    first, second = top_tokens(FIRST, 4), top_tokens(SECOND, 4)
    assert first.ids.tolist() == [[0, 1, 2, 3]]
    assert second.ids.tolist() == [[1, 0, 4, 5]]
    assert token_overlap(first, second).tolist() == [0.5]
    assert overlap_cosine_similarity(first, second, norm).item() == pytest.approx(expected, abs=1e-12)


def test_the_default_puts_the_missing_tokens_inside_the_root():
    first, second = top_tokens(FIRST, 4), top_tokens(SECOND, 4)
    assert overlap_cosine_similarity(first, second).item() == pytest.approx(0.96 / math.sqrt(2), abs=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("k", [1, 4, 11, 12])
def test_equals_the_literal_definition(k: int, levels: int | None, norm: OverlapNorm):
    one, other = distributions(levels=levels), distributions(seed=1, levels=levels)
    first, second = top_tokens(one, k), top_tokens(other, k)
    overlaps, similarities = token_overlap(first, second), overlap_cosine_similarity(first, second, norm)
    assert overlaps.dtype == similarities.dtype == torch.float64
    for row, (a, b) in enumerate(zip(one.double(), other.double(), strict=True)):
        shared = set(literal_top(a.tolist(), k)) & set(literal_top(b.tolist(), k))
        assert overlaps[row].item() == pytest.approx(len(shared) / k, abs=1e-15)
        expected = literal_ocs(a.exp().tolist(), b.exp().tolist(), k, norm)
        assert similarities[row].item() == pytest.approx(expected, abs=1e-12)
    swapped = overlap_cosine_similarity(second, first, norm)
    torch.testing.assert_close(similarities, swapped, atol=1e-15, rtol=0)


@pytest.mark.parametrize(
    ("vocabulary", "levels", "k"), [(12, 2, 5), (500, 20, 10), (50_000, 40, 10), (7, 1, 7)]
)
def test_ties_go_to_the_lower_id(vocabulary: int, levels: int, k: int):
    logprobs = distributions(6, vocabulary, seed=2, levels=levels)
    logprobs[2] = -math.log(vocabulary)
    top = top_tokens(logprobs, k)
    assert top.ids.tolist() == [literal_top(row, k) for row in logprobs.tolist()]
    assert torch.equal(top.logprobs, logprobs.gather(1, top.ids).double())
    assert top.ids[2].tolist() == list(range(k))


def test_tokens_of_no_probability_come_last_and_weigh_nothing():
    first = top_tokens(logprobs_of([0.0, 0.0, 1.0, 0.0]), 3)
    second = top_tokens(logprobs_of([0.5, 0.5, 0.0, 0.0]), 3)
    assert first.ids.tolist() == [[2, 0, 1]]
    assert token_overlap(first, second).tolist() == [1.0]
    for norm in NORMS:
        assert overlap_cosine_similarity(first, second, norm).tolist() == [0.0]


@pytest.mark.parametrize("norm", NORMS)
def test_equal_distributions_are_similar_by_exactly_one_and_disjoint_ones_by_zero(norm: OverlapNorm):
    top = top_tokens(distributions())
    assert overlap_cosine_similarity(top, top, norm).tolist() == [1.0] * 40
    left = top_tokens(logprobs_of([0.4, 0.4, 0.1, 0.1]), 2)
    right = top_tokens(logprobs_of([0.1, 0.1, 0.4, 0.4]), 2)
    assert token_overlap(left, right).tolist() == [0.0]
    assert overlap_cosine_similarity(left, right, norm).tolist() == [0.0]


@pytest.mark.parametrize("norm", ["sqrt_k_minus_o", "k_minus_o", "none"])
def test_shared_tokens_far_below_the_top_count_by_their_ratio_alone(norm: OverlapNorm):
    # Probabilities of 1e-400 and less: what they are relative to each other still decides.
    low = torch.tensor([[0.0, -math.inf, -950.0, -950.0 + math.log(2.0)]], dtype=torch.float64)
    other = torch.tensor([[-math.inf, 0.0, -950.0 + math.log(2.0), -950.0]], dtype=torch.float64)
    cosine = 0.8  # (1, 2) and (2, 1)
    found = overlap_cosine_similarity(top_tokens(low, 3), top_tokens(other, 3), norm).item()
    assert found == pytest.approx(cosine, abs=1e-12)


def test_batches_are_joined_and_put_in_order():
    logprobs = distributions(9)
    order = torch.tensor([4, 1, 7, 0, 2, 8, 3, 6, 5])
    joined = TopTokens.concatenate([top_tokens(logprobs[part]) for part in order.split(4)])
    assert len(joined) == 9 and joined.k == 10
    sorted_back, whole = joined.select(order.argsort()), top_tokens(logprobs)
    assert torch.equal(sorted_back.ids, whole.ids)
    assert torch.equal(sorted_back.logprobs, whole.logprobs)


def test_no_queries():
    none = top_tokens(torch.empty(0, 20))
    assert len(none) == 0 and none.k == 10
    assert token_overlap(none, none).shape == overlap_cosine_similarity(none, none).shape == (0,)


def test_half_precision_is_read_as_it_is():
    logprobs = distributions().to(torch.bfloat16)
    top = top_tokens(logprobs)
    assert top.ids.tolist() == [literal_top(row, 10) for row in logprobs.tolist()]


def test_wrong_input_is_refused():
    good = distributions(3)
    with pytest.raises(ValueError, match=r"\[N, V\]"):
        top_tokens(good[0])
    with pytest.raises(ValueError, match="int64"):
        top_tokens(torch.zeros(3, 12, dtype=torch.int64))
    broken = good.clone()
    broken[1, 2] = math.nan
    with pytest.raises(ValueError, match="1 of 36 log-probabilities are NaN or positive"):
        top_tokens(broken)
    with pytest.raises(ValueError, match="log_softmax of the logits"):
        top_tokens(good + 20)
    for k in (0, 13):
        with pytest.raises(ValueError, match=rf"the {k} most probable of 12 .* 1\.\.12"):
            top_tokens(good, k)
    top = top_tokens(good, 4)
    for other in (top_tokens(good, 5), top_tokens(good[:2], 4)):
        with pytest.raises(ValueError, match="3 with K = 4 and"):
            token_overlap(top, other)
        with pytest.raises(ValueError, match="3 with K = 4 and"):
            overlap_cosine_similarity(top, other)
    with pytest.raises(ValueError, match="unknown norm 'half', choose one of sqrt_k_minus_o"):
        overlap_cosine_similarity(top, top, "half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got \[4, 5\]"):
        TopTokens.concatenate([top, top_tokens(good, 5)])
    with pytest.raises(ValueError, match="no batch"):
        TopTokens.concatenate([])


def test_top_tokens_made_by_hand_are_checked():
    ids, logprobs = torch.tensor([[3, 1]]), logprobs_of([0.6, 0.2])
    TopTokens(ids, logprobs)
    with pytest.raises(ValueError, match="one shape"):
        TopTokens(ids, logprobs[:, :1])
    with pytest.raises(ValueError, match=r"\[N, K\] with K at least 1"):
        TopTokens(ids[0], logprobs[0])
    with pytest.raises(ValueError, match=r"\[N, K\] with K at least 1"):
        TopTokens(ids[:, :0], logprobs[:, :0])
    TopTokens(ids[:, :1], logprobs[:, :1])
    with pytest.raises(ValueError, match="NaN or positive"):
        TopTokens(ids, torch.tensor([[0.5, -1.0]], dtype=torch.float64))
    with pytest.raises(ValueError, match="never rise"):
        TopTokens(torch.tensor([[3, 1, 0]]), logprobs_of([0.6, 0.1, 0.3]))
    with pytest.raises(ValueError, match="float64"):
        TopTokens(ids, logprobs.float())
    with pytest.raises(ValueError, match="twice"):
        TopTokens(torch.tensor([[3, 3]]), logprobs)
    with pytest.raises(ValueError, match="never rise"):
        TopTokens(ids, logprobs.flip(1))


def test_a_positive_log_probability_is_refused_where_it_is_more_than_rounding():
    top_tokens(torch.tensor([[0.0005, -8.0]]), 1)
    for positive in (0.01, 0.9):
        with pytest.raises(ValueError, match="1 of 2 log-probabilities are NaN or positive"):
            top_tokens(torch.tensor([[positive, -8.0]]), 1)


def test_two_rows_may_hold_the_same_tokens_and_each_keeps_its_own_order():
    ids = torch.tensor([[3, 1], [1, 3]])
    assert TopTokens(ids, logprobs_of([0.6, 0.2], [0.5, 0.4])).ids.tolist() == ids.tolist()
    top = top_tokens(logprobs_of([0.1, 0.2, 0.7], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]), 3)
    assert top.ids.tolist() == [[2, 1, 0], [0, 1, 2], [1, 0, 2]]


def test_no_mass_on_the_shared_tokens_of_one_distribution_is_no_similarity():
    first = top_tokens(logprobs_of([0.5, 0.5, 0.0, 0.0]), 4)
    second = TopTokens(torch.tensor([[2, 3, 4, 5]]), logprobs_of([0.25, 0.25, 0.25, 0.25]))
    for norm in NORMS:
        assert overlap_cosine_similarity(first, second, norm).tolist() == [0.0]
        assert overlap_cosine_similarity(second, first, norm).tolist() == [0.0]


@pytest.mark.parametrize("norm", NORMS)
def test_a_similarity_is_never_above_one(norm: OverlapNorm):
    first = distributions(4000, 40)
    # The same distribution but for the last digits.
    second = (first.double() * (1 + 1e-9)).log_softmax(dim=1)
    found = overlap_cosine_similarity(top_tokens(first.double()), top_tokens(second), norm)
    assert found.max() <= 1.0 and found.min() > 0.999
