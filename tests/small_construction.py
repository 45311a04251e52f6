"""A small study of the construction that trains in seconds, made once for all tests of a process."""

from __future__ import annotations

from functools import cache

from iclprobe.analyses.construction.config import ConstructionConfig
from iclprobe.analyses.construction.study import ConstructionStudy, study_construction

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


@cache
def small_study() -> ConstructionStudy:
    return study_construction(CONFIG)
