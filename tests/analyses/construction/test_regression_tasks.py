"""In-context regression tasks have the stated distribution, and scale as said."""

from __future__ import annotations

import pytest
import torch

from iclprobe.analyses.construction.regression_tasks import RegressionTasks, draw_regression_tasks


def drawn(seed: int = 0, **options: float) -> RegressionTasks:
    generator = torch.Generator().manual_seed(seed)
    return draw_regression_tasks(4000, 3, 2, 5, generator, **options)


def test_every_task_is_one_linear_map_of_uniform_inputs():
    tasks = drawn(input_range=2.0, weight_scale=0.5)
    inputs = torch.cat([tasks.x, tasks.query[:, None]], 1)
    assert inputs.abs().max() <= 1 and inputs.abs().max() > 0.999
    assert float(inputs.var()) == pytest.approx(4 / 12, rel=0.02)
    maps = torch.linalg.lstsq(tasks.x.double(), tasks.y.double()).solution.mT
    torch.testing.assert_close(
        (maps @ tasks.query.double()[..., None])[..., 0], tasks.target.double(), atol=1e-3, rtol=1e-3
    )
    assert float(maps.std()) == pytest.approx(0.5, rel=0.03)
    assert abs(float(maps.mean())) < 0.02


def test_scaling_inputs_or_weights_scales_what_depends_on_them():
    tasks = drawn()
    scaled = tasks.scaled(inputs=3.0, weights=2.0)
    for part, factor in (("x", 3), ("query", 3), ("y", 6), ("target", 6)):
        torch.testing.assert_close(getattr(scaled, part), factor * getattr(tasks, part))


def test_draws_depend_on_the_generator_alone():
    assert torch.equal(drawn(1).x, drawn(1).x)
    assert not torch.equal(drawn(1).x, drawn(2).x)


def test_parts_of_different_tasks_are_refused():
    with pytest.raises(ValueError, match=r"x \(2, 5, 3\) cannot have"):
        RegressionTasks(torch.zeros(2, 5, 3), torch.zeros(2, 4, 1), torch.zeros(2, 3), torch.zeros(2, 1))
