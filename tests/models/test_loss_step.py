"""The scale at which a loss is differentiated."""

from __future__ import annotations

import math

import pytest
import torch

from iclprobe.models.loss_step import LossStep, at_largest_scale


@pytest.mark.parametrize(
    ("overflowing", "loss", "tried"),
    [
        ((), 1.0, [256.0]),
        ((256.0,), 1.0, [256.0, 16.0]),
        ((256.0, 16.0), 1.0, [256.0, 16.0, 1.0]),
        ((256.0, 16.0, 1.0), 1.0, [256.0, 16.0, 1.0]),
        ((256.0, 16.0, 1.0), math.inf, [256.0]),
        ((256.0, 16.0, 1.0), math.nan, [256.0]),
    ],
)
def test_the_next_scale_is_taken_only_where_gradients_overflow_and_the_loss_does_not(
    overflowing: tuple[float, ...], loss: float, tried: list[float]
):
    scales: list[float] = []

    def scaled(scale: float) -> LossStep:
        scales.append(scale)
        return LossStep(loss, [torch.tensor(math.inf if scale in overflowing else scale)])

    done = at_largest_scale((256.0, 16.0, 1.0), scaled)
    assert scales == tried
    assert done.gradients[0].item() in (scales[-1], math.inf)


def test_there_may_be_one_scale():
    assert at_largest_scale((1.0,), lambda scale: LossStep(scale)).loss == 1.0
