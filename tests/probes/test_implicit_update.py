"""Implicit updates: the weights that they name, how many there are, what they share with finetuning's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from iclprobe.probes.implicit_update import ImplicitUpdates, implicit_updates, update_alignment

N, M, D = 6, 9, 5


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHT, BEFORE, AFTER = drawn(0, M, D), drawn(1, N, D), drawn(2, N, D)


def test_a_changed_weight_gives_for_the_zero_shot_input_what_it_gave_in_context() -> None:
    updates = implicit_updates(WEIGHT, BEFORE, AFTER)
    for query in range(N):
        changed = WEIGHT + updates.matrix(query)
        assert torch.allclose(changed @ BEFORE[query], WEIGHT @ AFTER[query])
        assert int(torch.linalg.matrix_rank(updates.matrix(query))) == 1
        assert float(updates.lengths[query]) == pytest.approx(float(torch.linalg.norm(updates.matrix(query))))
    others = updates.on(AFTER)
    for query in range(N):
        assert torch.allclose(others[query], updates.matrix(query) @ AFTER[query])
    assert torch.equal(updates.select(torch.tensor([2])).matrix(0), updates.matrix(2))


def test_the_effective_rank_counts_different_updates() -> None:
    same = ImplicitUpdates(drawn(3, 1, M).expand(N, M), drawn(4, 1, D).expand(N, D) * 3)
    assert same.effective_rank == pytest.approx(1)
    apart = ImplicitUpdates(torch.eye(N, M, dtype=torch.float64), drawn(5, 1, D).expand(N, D))
    assert apart.effective_rank == pytest.approx(N)
    two = torch.tensor([0, 0, 0, 1, 1, 1])
    assert ImplicitUpdates(apart.outputs[two], apart.inputs).effective_rank == pytest.approx(2)
    # Of matrices that are formed: the entropy of the squared singular values of all of them side by side.
    updates = implicit_updates(WEIGHT, BEFORE, AFTER)
    flat = np.stack([updates.matrix(query).numpy().ravel() for query in range(N)])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    shares = np.linalg.svd(flat, compute_uv=False) ** 2 / N
    assert updates.effective_rank == pytest.approx(float(np.exp(-(shares * np.log(shares)).sum())))


def test_an_input_that_changes_by_rounding_asks_for_no_update() -> None:
    after = AFTER.clone()
    after[1] = BEFORE[1] * (1 + 1e-8)
    updates = implicit_updates(WEIGHT, BEFORE, after, floor=1e-6)
    assert updates.defined.tolist() == [True, False, True, True, True, True]
    assert math.isnan(float(updates.lengths[1])) and math.isfinite(updates.effective_rank)
    found = update_alignment(updates, drawn(6, M, D), torch.tensor([1, 0, 3, 2, 5, 4]))
    for values in (found.weights, found.weights_permuted, found.outputs, found.outputs_permuted):
        assert math.isnan(float(values[1]))
    nothing = implicit_updates(WEIGHT, BEFORE, BEFORE)
    assert not bool(nothing.defined.any()) and math.isnan(nothing.effective_rank)


def test_alignment_is_that_of_matrices_and_of_what_they_add() -> None:
    updates, finetuned = implicit_updates(WEIGHT, BEFORE, AFTER), drawn(7, M, D)
    partners = torch.tensor([[1, 2, 3, 4, 5, 0], [2, 3, 4, 5, 0, 1]])
    found = update_alignment(updates, finetuned, partners)

    def cosine(one: Tensor, other: Tensor) -> float:
        return float((one * other).sum() / one.norm() / other.norm())

    for query in range(N):
        added = finetuned @ BEFORE[query]
        assert float(found.weights[query]) == pytest.approx(cosine(updates.matrix(query), finetuned))
        assert float(found.outputs[query]) == pytest.approx(cosine(updates.outputs[query], added))
        others = [updates.outputs[int(row[query])] for row in partners]
        weights = [cosine(torch.outer(other, BEFORE[query]), finetuned) for other in others]
        assert float(found.weights_permuted[query]) == pytest.approx(np.mean(weights))
        outputs = [cosine(other, added) for other in others]
        assert float(found.outputs_permuted[query]) == pytest.approx(np.mean(outputs))
    assert found.gaussian == pytest.approx((M * D) ** -0.5)
    assert float(update_alignment(updates, updates.matrix(3)).weights[3]) == pytest.approx(1)
    assert bool(update_alignment(updates, torch.zeros(M, D)).weights.isnan().all())


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="expected a weight"):
        implicit_updates(WEIGHT, BEFORE, AFTER[:, :3])
    with pytest.raises(ValueError, match="NaN or infinite"):
        implicit_updates(WEIGHT, BEFORE, AFTER * math.inf)
    with pytest.raises(ValueError, match="expected a map"):
        update_alignment(implicit_updates(WEIGHT, BEFORE, AFTER), WEIGHT.T)
    with pytest.raises(ValueError, match="expected outputs"):
        ImplicitUpdates(WEIGHT, BEFORE)
