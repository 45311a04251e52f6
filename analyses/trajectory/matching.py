"""Which step of which finetuning is nearest to ICL, and what it is like there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..comparison.measures import Intervals
from ..comparison.query_values import interval_of, over_layers_and_draws
from .names import ACCURACY, BY_ACCURACY, BY_KL, LABEL_KL, UNITS


@dataclass(frozen=True, eq=False)
class Point:
    """The model after some steps at one learning rate, over all draws.

    Attributes:
        shots: Demonstrations asked for.
        learning_rate: The learning rate.
        step: After how many updates.
        values: Each measure, ``[N, S, L]`` by name: queries by draws by layers, NaN where a draw did not get there.
        draws: In how many draws it was reached.
    """

    shots: int
    learning_rate: float
    step: int
    values: Mapping[str, Tensor]
    draws: int


def mean_of(values: Tensor) -> float:
    """Return the mean over queries, draws and layers of ``[N, S, L]``; NaN where there is none."""
    return float(over_layers_and_draws(values.nanmean(0)[None])[0])


def measure_rows(point: Point, intervals: Intervals) -> list[dict[str, Any]]:
    """Return one row for each measure of a point, with intervals over queries."""
    return [
        {
            "shots": point.shots,
            "learning_rate": point.learning_rate,
            "step": point.step,
            "measure": measure,
            "unit": UNITS[measure],
            **interval_of(values, measure, intervals),
            "queries": int((~values.isnan()).flatten(1).any(1).sum()),
            "draws": point.draws,
        }
        for measure, values in point.values.items()
    ]


def distance(point: Point, icl_accuracy: Tensor, by: str) -> float:
    """Return how far a point is from ICL: accuracy less ICL's in points, or the label KL in nats."""
    if by == BY_KL:
        return mean_of(point.values[LABEL_KL])
    return mean_of(point.values[ACCURACY] - icl_accuracy)


def nearest(points: Sequence[Point], icl_accuracy: Tensor, by: str) -> Point | None:
    """Return the point that is nearest to ICL; of equally near ones that of the smaller label KL, then the earlier.

    A point that not every draw reached is none.

    Args:
        points: Of one number of shots.
        icl_accuracy: Whether ICL is right, in %, ``[N, S, 1]``.
        by: ``accuracy`` or ``label KL``.
    """
    most = max((point.draws for point in points), default=0)
    there = [
        (abs(gap), mean_of(point.values[LABEL_KL]), point.step, place)
        for place, point in enumerate(points)
        if point.draws == most and not math.isnan(gap := distance(point, icl_accuracy, by))
    ]
    return points[min(there)[-1]] if there else None


def matched_rows(
    points: Sequence[Point], icl_accuracy: Mapping[int, Tensor], intervals: Intervals
) -> list[dict[str, Any]]:
    """Return, for each number of shots and learning rate, every measure at the step that is nearest to ICL.

    Args:
        points: All of them.
        icl_accuracy: Whether ICL is right, by number of shots, see `nearest`.
        intervals: How intervals are made.
    """
    rows: list[dict[str, Any]] = []
    for shots, right in icl_accuracy.items():
        own = [point for point in points if point.shots == shots]
        for by in (BY_ACCURACY, BY_KL):
            best = nearest(own, right, by)
            for rate in dict.fromkeys(point.learning_rate for point in own):
                point = nearest([one for one in own if one.learning_rate == rate], right, by)
                if point is None or best is None or point.draws < best.draws:
                    continue
                gap = point.values[LABEL_KL] if by == BY_KL else point.values[ACCURACY] - right
                left = interval_of(gap, LABEL_KL if by == BY_KL else ACCURACY, intervals)
                known = {
                    f"distance{'' if end == 'value' else f'_{end}'}": value for end, value in left.items()
                }
                rows += [
                    {
                        **{name: value for name, value in row.items() if name not in ("queries", "draws")},
                        **known,
                    }
                    | {"by": by, "nearest": point is best}
                    for row in measure_rows(point, intervals)
                ]
    return rows
