"""Other rows stand in for one head's for as long as that lasts; behind it the weight is as it was, bit for bit."""

from __future__ import annotations

import pytest
import torch

from iclprobe.hooks.changed_rows import other_rows_in

ROWS = torch.tensor([1, 2])


def weight(dim: int) -> torch.Tensor:
    drawn = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    return drawn.T.contiguous() if dim else drawn


@pytest.mark.parametrize("dim", [0, 1])
def test_a_head_has_its_own_rows_in_another_order(dim: int) -> None:
    changed = weight(dim)
    with other_rows_in(changed, dim, ROWS, orthogonal_to=None, draw=0):
        within = changed.clone()
    by_row, before = (within.T, weight(dim).T) if dim else (within, weight(dim))
    assert torch.equal(by_row[ROWS], before[ROWS.flip(0)])
    assert torch.equal(by_row[[0, 3, 4]], before[[0, 3, 4]])
    assert torch.equal(changed, weight(dim))


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_rows_that_are_alike_are_changed_too(value: float) -> None:
    changed = torch.full((5, 7), value)
    with other_rows_in(changed, 0, ROWS, orthogonal_to=None, draw=0):
        moved = changed[ROWS] - value
    size = value or 7**-0.5
    assert 0.3 * size < moved.square().mean().sqrt() < 3 * size
    assert torch.equal(changed, torch.full((5, 7), value))


def test_one_input_sees_no_change_and_each_draw_is_another() -> None:
    changed, seen = weight(0), []
    unseen = torch.arange(1.0, 8.0)
    for draw in range(2):
        with other_rows_in(changed, 0, ROWS, orthogonal_to=unseen, draw=draw):
            seen.append(changed[ROWS] - weight(0)[ROWS])
    for moved in seen:
        assert (moved @ unseen).abs().max() < 1e-4 * moved.norm() * unseen.norm()
        # Large, so that half precision does not round its effect away.
        assert moved.square().mean().sqrt() > 3 * weight(0).square().mean().sqrt()
    assert not torch.allclose(seen[0], seen[1])


def test_the_rows_come_back_after_an_error() -> None:
    changed = weight(0)
    with (
        pytest.raises(RuntimeError, match="within"),
        other_rows_in(changed, 0, ROWS, orthogonal_to=None, draw=0),
    ):
        raise RuntimeError("within")
    assert torch.equal(changed, weight(0))
