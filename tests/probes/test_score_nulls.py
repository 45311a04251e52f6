"""The null of SimAM of the changes: rows of other queries, laid over each other from the last token backwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from iclprobe.probes import Floors, SimAM, delta_shared_baseline, derangement, sim_am

LENGTHS = (5, 1, 3, 4, 2, 5)
SHAPE = (len(LENGTHS), 2, 3, max(LENGTHS))


def scores() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    zero_shot, icl, finetuned = (torch.randn(SHAPE, generator=generator) for _ in range(3))
    return zero_shot, icl, finetuned


def columns(padded: str) -> torch.Tensor:
    places, lengths = torch.arange(SHAPE[-1]), torch.tensor(LENGTHS)[:, None]
    return places < lengths if padded == "right" else places >= SHAPE[-1] - lengths


@pytest.mark.parametrize("padded", ["right", "left"])
@pytest.mark.parametrize("windowed", [False, True])
def test_it_equals_a_literal_loop(padded, windowed):
    zero_shot, icl, finetuned = scores()
    tokens = columns(padded)
    visible = torch.ones(SHAPE[0], SHAPE[1], 1, SHAPE[3], dtype=torch.bool)
    if windowed:
        visible[:, 1, :, :2] = False
    partners = torch.stack([derangement(len(LENGTHS), seed) for seed in (0, 1)])
    got = delta_shared_baseline(
        finetuned, icl, tokens, zero_shot=zero_shot, partner=partners, visible=visible if windowed else None
    )
    for j in range(SHAPE[0]):
        for layer in range(SHAPE[1]):
            for head in range(SHAPE[2]):
                drawn = []
                for partner in partners:
                    i = int(partner[j])
                    mine = [c for c in range(SHAPE[3]) if tokens[j, c]]
                    theirs = [c for c in range(SHAPE[3]) if tokens[i, c]]
                    pairs = [
                        (a, b)
                        for a, b in zip(reversed(mine), reversed(theirs), strict=False)
                        if visible[j, layer, 0, a] and visible[i, layer, 0, b]
                    ]
                    z = np.array([float(zero_shot[j, layer, head, a]) for a, _ in pairs])
                    f = np.array([float(finetuned[j, layer, head, a]) for a, _ in pairs]) - z
                    m = np.array([float(icl[i, layer, head, b]) for _, b in pairs]) - z
                    if len(pairs):
                        drawn.append(m @ f / (np.linalg.norm(m) * np.linalg.norm(f)))
                sees = any(bool(tokens[j, c] and visible[j, layer, 0, c]) for c in range(SHAPE[3]))
                expected = np.mean(drawn) if drawn and sees else np.nan
                assert float(got.values[j, layer, head]) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_three_independent_rows_have_half_and_so_has_their_null():
    generator = torch.Generator().manual_seed(0)
    zero_shot, icl, finetuned = (torch.randn(300, 2, 4, 24, generator=generator) for _ in range(3))
    tokens = torch.ones(300, 24, dtype=torch.bool)
    own = sim_am(finetuned, icl, tokens, variant="delta", zero_shot=zero_shot).mean
    partner = torch.stack([derangement(300, seed) for seed in range(5)])
    null = delta_shared_baseline(finetuned, icl, tokens, zero_shot=zero_shot, partner=partner).mean
    # Two rows of 24 numbers have a cosine that deviates by about 0.17; there are 2,400 of them. The expectation
    # of a ratio of few numbers lies a little below the ratio of expectations.
    assert own == pytest.approx(0.49, abs=0.015)
    assert null == pytest.approx(own, abs=0.015)


def test_what_ties_icl_to_the_query_is_lost_and_what_all_queries_share_is_kept():
    generator = torch.Generator().manual_seed(0)
    zero_shot, particular = (torch.randn(60, 1, 2, 30, generator=generator) for _ in range(2))
    tokens = torch.ones(60, 30, dtype=torch.bool)
    partner = derangement(60, 0)
    change = zero_shot + 10 * particular
    assert sim_am(change, change, tokens, variant="delta", zero_shot=zero_shot).mean == pytest.approx(1.0)
    null = delta_shared_baseline(change, change, tokens, zero_shot=zero_shot, partner=partner)
    assert abs(null.mean) < 0.06
    shared = zero_shot + 10 * particular[:1]
    null = delta_shared_baseline(shared, shared, tokens, zero_shot=zero_shot, partner=partner)
    assert null.mean > 0.95


def test_batch_by_batch_in_any_order_it_is_the_whole():
    zero_shot, icl, finetuned = scores()
    tokens, partner = columns("right"), derangement(len(LENGTHS), 3)
    whole = delta_shared_baseline(finetuned, icl, tokens, zero_shot=zero_shot, partner=partner)
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    parts = [
        delta_shared_baseline(
            finetuned[batch], icl, tokens, zero_shot=zero_shot, partner=partner, examples=batch
        )
        for batch in order.split(4)
    ]
    joined = SimAM.concatenate(parts).select(order.argsort())
    torch.testing.assert_close(joined.values, whole.values, rtol=0, atol=0, equal_nan=True)


def test_it_is_undefined_where_the_measure_is():
    zero_shot, icl, finetuned = scores()
    tokens, partner = columns("right"), derangement(len(LENGTHS), 3)
    icl[:, 0] = zero_shot[:, 0] * (1 + 1e-7)
    finetuned[2, 1] = zero_shot[2, 1]
    measured = sim_am(finetuned, icl, tokens, variant="delta", zero_shot=zero_shot)
    null = delta_shared_baseline(finetuned, icl, tokens, zero_shot=zero_shot, partner=partner)
    assert null.values.isnan().equal(measured.values.isnan())
    assert null.undefined.tolist() == [18, 3]
    floors = Floors(torch.full((2, 3), 100.0, dtype=torch.float64), 0.0)
    high = delta_shared_baseline(finetuned, icl, tokens, zero_shot=zero_shot, partner=partner, floors=floors)
    assert high.values.isnan().all()


def test_a_batch_of_no_query_has_no_value():
    zero_shot, icl, finetuned = scores()
    nobody, partner = torch.zeros(0, dtype=torch.int64), derangement(len(LENGTHS), 3)
    null = delta_shared_baseline(
        finetuned[:0], icl, columns("left"), zero_shot=zero_shot, partner=partner, examples=nobody
    )
    assert null.values.shape == (0, 2, 3)


def test_what_does_not_fit_is_refused():
    zero_shot, icl, finetuned = scores()
    tokens, partner = columns("right"), derangement(len(LENGTHS), 3)
    for before, after in ((zero_shot[:, :1], icl), (zero_shot, icl[:, :1])):
        with pytest.raises(ValueError, match=r"\[N, L, H, Q\] for all, got zero_shot .*, icl "):
            delta_shared_baseline(finetuned, after, tokens, zero_shot=before, partner=partner)
    with pytest.raises(ValueError, match=r"for 2 examples, got \(6, 2, 3, 5\)"):
        delta_shared_baseline(
            finetuned, icl, tokens, zero_shot=zero_shot, partner=partner, examples=torch.tensor([0, 1])
        )
    with pytest.raises(ValueError, match="their own partner"):
        delta_shared_baseline(finetuned, icl, tokens, zero_shot=zero_shot, partner=torch.arange(len(LENGTHS)))
