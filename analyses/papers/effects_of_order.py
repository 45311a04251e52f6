"""The effects behind Shen et al.'s claims about the order of demonstrations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from .effects import Effect, over_units
from .shen2024 import GD
from .study_rows import ICL, OrderRow, order_rows

Studies = Mapping[str, Any]


def icl_sensitivity(studies: Studies) -> Effect:
    """Sen of ICL, over draws."""
    rows = _all_rows(studies)
    return over_units([_icl(rows, seed) for seed in _seeds(rows)], "draws of demonstrations")


def icl_less_arms(studies: Studies, *arms: str) -> Effect:
    """Sen of ICL less the largest of the arms at the last epoch (mean over rates), over draws.

    Of several models, the one with the smallest difference.
    """
    differences = []
    for study in studies.values():
        rows = order_rows(study)
        names = [arm for arm in _arms(rows) if not arms or arm in arms]
        differences.append(
            {seed: _icl(rows, seed) - max(_last(rows, seed, arm) for arm in names) for seed in _seeds(rows)}
        )
    seeds = differences[0]
    return over_units(
        [min(of_model[seed] for of_model in differences) for seed in seeds], "draws of demonstrations"
    )


def gradient_descent_over_icl(studies: Studies) -> Effect:
    """Sen of full-batch GD over Sen of ICL, over draws."""
    rows = _all_rows(studies)
    return over_units(
        [_last(rows, seed, GD) / _icl(rows, seed) for seed in _seeds(rows)], "draws of demonstrations"
    )


def first_less_last_epoch(studies: Studies, *arms: str) -> Effect:
    """Sen at the first evaluation less at the last, mean over arms and rates, over draws."""
    rows = _all_rows(studies)
    values = []
    for seed in _seeds(rows):
        values.append(mean(_first(rows, seed, arm) - _last(rows, seed, arm) for arm in arms))
    return over_units(values, "draws of demonstrations")


def _all_rows(studies: Studies) -> list[OrderRow]:
    return [row for study in studies.values() for row in order_rows(study)]


def _seeds(rows: Sequence[OrderRow]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(row.seed for row in rows))


def _arms(rows: Sequence[OrderRow]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.arm for row in rows if row.arm != ICL))


def _icl(rows: Sequence[OrderRow], seed: int) -> float:
    return _mean([row.sensitivity for row in rows if row.arm == ICL and row.seed == seed])


def _first(rows: Sequence[OrderRow], seed: int, arm: str) -> float:
    return _at(rows, seed, arm, min)


def _last(rows: Sequence[OrderRow], seed: int, arm: str) -> float:
    return _at(rows, seed, arm, max)


def _at(rows: Sequence[OrderRow], seed: int, arm: str, which: Any) -> float:
    found = [row for row in rows if row.arm == arm and row.seed == seed]
    if not found:
        return math.nan
    epoch = which(row.epoch for row in found)
    return _mean([row.sensitivity for row in found if row.epoch == epoch])


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return mean(defined) if defined else math.nan
