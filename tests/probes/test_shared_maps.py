"""One update for all queries: that of scikit-learn's formula, held-out, and a truth that is planted found again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from iclprobe.probes.shared_maps import shared_update

HALF = torch.arange(40) % 2


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def explained(predicted: Tensor, targets: Tensor) -> float:
    return 1 - float((predicted - targets).square().sum() / targets.square().sum())


def test_a_map_that_all_share_is_found_and_one_to_other_queries_targets_explains_nothing() -> None:
    inputs, truth = drawn(0, 40, 6), drawn(1, 9, 6)
    targets = inputs @ truth.T
    found = shared_update(inputs, targets, HALF, seed=0)
    assert explained(found.predicted, targets) > 0.999 and found.penalties == (1e-6, 1e-6)
    assert explained(found.mean, targets) < 0.1 and explained(found.permuted, targets) < 0.1


def test_a_shift_that_is_the_same_for_all_is_the_means() -> None:
    inputs, targets = drawn(2, 40, 6), drawn(3, 1, 9) + 0.01 * drawn(4, 40, 9)
    found = shared_update(inputs, targets, HALF, seed=0)
    # Without a constant a map of inputs around 0 cannot say it.
    assert explained(found.mean, targets) > 0.99 > 0.2 > explained(found.predicted, targets)


def test_nothing_is_predicted_from_noise() -> None:
    found = shared_update(drawn(5, 40, 30), drawn(6, 40, 9), HALF, seed=0)
    assert explained(found.predicted, drawn(6, 40, 9)) < 0.05 and min(found.penalties) >= 1


def test_the_fit_is_the_ridge_regression_of_the_other_half_in_its_primal_form() -> None:
    inputs, targets = drawn(7, 40, 6), drawn(8, 40, 9)
    found = shared_update(inputs, targets, HALF, seed=0, penalties=(0.3,))
    for half in (0, 1):
        own, wanted = inputs[half != HALF], targets[half != HALF]
        scale = own.square().sum(-1).mean()
        weight = torch.linalg.solve(own.T @ own + 0.3 * scale * torch.eye(6), own.T @ wanted).T
        assert torch.allclose(found.predicted[half == HALF], inputs[half == HALF] @ weight.T)
        assert torch.allclose(found.mean[half == HALF], wanted.mean(0).expand(20, 9))


def test_a_querys_own_target_is_not_used() -> None:
    inputs, targets = drawn(9, 40, 6), drawn(10, 40, 9)
    before = shared_update(inputs, targets, HALF, seed=0)
    changed = targets.clone()
    changed[HALF == 0] = drawn(11, 20, 9)
    after = shared_update(inputs, changed, HALF, seed=0)
    for name in ("predicted", "mean", "permuted"):
        assert torch.equal(getattr(before, name)[HALF == 0], getattr(after, name)[HALF == 0])
        assert not torch.equal(getattr(before, name)[HALF == 1], getattr(after, name)[HALF == 1])


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="expected inputs"):
        shared_update(drawn(0, 40, 6), drawn(0, 39, 6), HALF, seed=0)
    with pytest.raises(ValueError, match="needs at least two"):
        shared_update(drawn(0, 3, 6), drawn(0, 3, 6), torch.tensor([0, 1, 1]), seed=0)
