"""The scale at which a loss is differentiated."""

from __future__ import annotations

import math

import pytest
import tiny_families
import torch

from iclprobe.models.loading import load_model
from iclprobe.models.loss_step import LossStep, at_largest_scale, loss_scales
from iclprobe.models.parameters import TrainedSlice


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


def test_half_precision_is_scaled_by_powers_of_two_and_not_at_all_in_the_end():
    module = tiny_families.fresh("llama")
    assert loss_scales(load_model(module)) == (1.0,)
    scales = loss_scales(load_model(module.half()))
    assert scales[0] > 1.0 and list(scales) == sorted(scales, reverse=True)
    # Dividing a gradient by anything else would round it; what overflows at every scale is tried unscaled.
    assert all(math.frexp(scale)[0] == 0.5 for scale in scales)
    assert scales[-1] == 1.0


def test_watched_gradients_of_several_forwards_add_up_in_full_precision_and_without_the_scale():
    step, watched = LossStep(), {"one": TrainedSlice("weight"), "other": TrainedSlice("bias")}
    for value in (1.0, 2.0):
        step.add_watched(watched, [torch.full((2,), value).half(), torch.full((3,), 8 * value).half()], 0.25)
    assert step.watched["one"].tolist() == [0.75] * 2
    assert step.watched["other"].tolist() == [6.0] * 3
    assert step.watched["one"].dtype == torch.float32
