"""A small study of the construction that trains in seconds, made once for all tests of a process."""

from __future__ import annotations

from functools import cache

import torch

from iclprobe import ConstructionConfig, Study, construction
from iclprobe.probes.linear_attention import LinearSelfAttention

CONFIG = ConstructionConfig(
    n_x=3,
    n_y=2,
    demonstrations=5,
    steps=400,
    batch_size=256,
    learning_rate=5e-3,
    evaluation_tasks=500,
    input_scales=(0.5, 1.0, 2.0),
    weight_scales=(1.0, 3.0),
    demonstration_counts=(1, 5, 20),
    interpolation_points=5,
    ridge_penalties=(0.5,),
    probe_queries=16,
)
SMALLEST = CONFIG.model_copy(update={"steps": 3, "evaluate_every": 2, "evaluation_tasks": 20, "model": None})


@cache
def small_study() -> Study:
    return construction(CONFIG)


def layer_of(study: Study, name: str) -> LinearSelfAttention:
    """Return the ``trained`` or the ``constructed`` layer of a study."""
    arrays = study.arrays["weights"]
    matrices = (torch.tensor(arrays[f"{name}.{matrix}"]) for matrix in ("W_K", "W_Q", "W_V", "P"))
    return LinearSelfAttention(*matrices, n_x=study.config.n_x)


def swept(study: Study, varied: str, learner: str, column: str = "loss") -> list[float]:
    """Return the numbers of one learner at every value of what is varied."""
    sweeps = study.tables["sweeps"]
    return sweeps.loc[(sweeps["varied"] == varied) & (sweeps["learner"] == learner), column].tolist()
