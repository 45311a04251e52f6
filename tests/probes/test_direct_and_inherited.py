"""Direct and inherited parts: the update, nulls and SimAOU as they are elsewhere, undefined where rounding."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from iclprobe.probes import (
    Floors,
    SplitOutputs,
    UpdatePart,
    derangement,
    part_shares,
    part_similarity,
    permuted_pairs,
    shared_baseline,
    sim_aou,
)

N, L, D = 7, 3, 11


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*(shape or (N, L, D)), generator=torch.Generator().manual_seed(seed))


BEFORE = drawn(0)
ICL = SplitOutputs(BEFORE, drawn(1), drawn(2))
FT = SplitOutputs(BEFORE, drawn(3), drawn(4))
PARTNERS = torch.stack([derangement(N, seed) for seed in range(3)])
BOTH: tuple[UpdatePart, ...] = ("direct", "inherited")
PAIRS: list[tuple[UpdatePart, UpdatePart]] = [(one, other) for one in BOTH for other in BOTH]


def test_shares_are_those_of_a_literal_loop_and_sum_to_one() -> None:
    found = part_shares(ICL)
    for query in range(N):
        for layer in range(L):
            before, middle, after = (
                each[query, layer].double().numpy() for each in (ICL.before, ICL.inheriting, ICL.after)
            )
            total = after - before
            for part, update in zip(BOTH, (after - middle, middle - before), strict=True):
                share = np.dot(update, total) / np.dot(total, total)
                assert float(found.share(part)[query, layer]) == pytest.approx(share)
                assert float(found.lengths[part][query, layer]) == pytest.approx(np.dot(update, update))
    assert torch.allclose(found.share("direct") + found.share("inherited"), torch.ones(N, L).double())


def test_the_total_is_sim_aou_with_its_nulls_and_the_pairs_sum_to_it() -> None:
    whole = part_similarity(ICL, FT, "total", "total", partners=PARTNERS)
    outputs = BEFORE, ICL.after, FT.after
    assert torch.allclose(whole.values, sim_aou(*outputs).values)
    for name, null in (("permuted_pairs", permuted_pairs), ("shared_baseline", shared_baseline)):
        assert torch.allclose(getattr(whole, name), null(*outputs, partner=PARTNERS).values)
    pairs = [part_similarity(ICL, FT, one, other).contribution for one, other in PAIRS]
    assert torch.allclose(sum(pairs, torch.zeros(N, L)), whole.values)
    assert max(float(pair.abs().max()) for pair in pairs) > 0.1


def test_a_part_is_compared_with_its_like_and_its_nulls_are_those_of_a_literal_loop() -> None:
    found = part_similarity(ICL, FT, "inherited", "direct", partners=PARTNERS)

    def unit(vector: Tensor) -> np.ndarray:
        return (vector.double() / vector.double().norm()).numpy()

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))

    for query in range(N):
        other_part = unit(FT.after[query, 1]) - unit(FT.inheriting[query, 1])

        def part(start: int, end: int) -> np.ndarray:
            return unit(ICL.inheriting[end, 1]) - unit(ICL.before[start, 1])

        assert float(found.values[query, 1]) == pytest.approx(cosine(part(query, query), other_part))
        others = [int(row[query]) for row in PARTNERS]
        permuted = np.mean([cosine(part(other, other), other_part) for other in others])
        shared = np.mean([cosine(part(query, other), other_part) for other in others])
        assert float(found.permuted_pairs[query, 1]) == pytest.approx(permuted)
        assert float(found.shared_baseline[query, 1]) == pytest.approx(shared)


def test_what_is_rounding_has_no_share_and_no_cosine() -> None:
    unmoved = ICL.after.clone()
    unmoved[2, 1] = BEFORE[2, 1] * (1 + 1e-7)
    rounded = replace(ICL, after=unmoved, floor=1e-5)
    shares = part_shares(rounded)
    assert math.isnan(float(shares.share("direct")[2, 1])) and int(shares.squares.isnan().sum()) == 1
    whole = part_similarity(rounded, FT, "total", "total", partners=PARTNERS)
    for values in (whole.values, whole.contribution, whole.permuted_pairs, whole.shared_baseline):
        assert math.isnan(float(values[2, 1]))
    # A part that is nothing has no cosine, and is a share of 0 of an update that is something.
    inherits_nothing = replace(ICL, inheriting=BEFORE)
    assert bool(part_similarity(inherits_nothing, FT, "inherited", "inherited").values.isnan().all())
    assert bool((part_shares(inherits_nothing).share("inherited") == 0).all())
    assert bool((part_shares(inherits_nothing).share("direct") == 1).all())
    same = SplitOutputs(BEFORE, BEFORE, BEFORE, Floors.of(torch.float32).ft)
    assert bool(part_similarity(ICL, same, "direct", "direct").values.isnan().all())


def test_a_floor_of_each_layer_is_that_layers() -> None:
    floor = torch.tensor([0.0, 1e9, 0.0])
    found = part_shares(replace(ICL, floor=floor)).share("direct").isnan()
    assert found.any(0).tolist() == [False, True, False]


def test_shapes_and_numbers_are_checked() -> None:
    with pytest.raises(ValueError, match="expected one shape"):
        SplitOutputs(BEFORE, BEFORE, BEFORE[:3])
    with pytest.raises(ValueError, match="NaN or infinite"):
        part_shares(replace(ICL, after=torch.full_like(BEFORE, torch.inf)))
    with pytest.raises(ValueError, match="expected one shape"):
        part_similarity(ICL, SplitOutputs(*(drawn(8, 3, L, D) for _ in range(3))), "total", "total")
