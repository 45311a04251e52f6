"""The effects behind Shen et al.'s claims about output distributions and accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any, Literal

from .effects import Effect, over_units
from .shen2024 import GD
from .study_rows import ICL, OutputRow, late_pairs, output_rows

Studies = Mapping[str, Any]
Metric = Literal["accuracy", "token_overlap", "ocs"]
_DRAWS = "draws of demonstrations"


def icl_less_best_arm(studies: Studies, metric: Metric, shots: int) -> Effect:
    """A metric of ICL less the best arm's at its last epoch, over draws; every dataset on its own."""

    def difference(rows: Sequence[OutputRow]) -> float:
        return _icl(rows, metric) - max(_last(rows, arm, metric) for arm in _arms(rows))

    return over_units(_each(studies, difference, shots), _units(studies))


def icl_less_arm(studies: Studies, metric: Metric, arm: str) -> Effect:
    """A metric of ICL less an arm's at its last epoch, mean over rates and shots, over datasets and draws."""

    def difference(rows: Sequence[OutputRow]) -> float:
        return _icl(rows, metric) - _last(rows, arm, metric)

    values = []
    for study in studies.values():
        rows = output_rows(study)
        for seed in _seeds(rows):
            values.append(_mean([difference(_cell(rows, seed, shots)) for shots in _shots(rows)]))
    return over_units(values, _units(studies))


def share_of_cells_below_icl(studies: Studies, metric: Metric) -> Effect:
    """Share of dataset × shots × arm × rate × epoch with a smaller metric than ICL with ICL, over draws.

    One demonstration has one order, so ICL agrees with itself and the cell says nothing: two or more are taken.
    """
    by_seed: dict[int, list[bool]] = {}
    for study in studies.values():
        rows = output_rows(study)
        for seed in _seeds(rows):
            for shots in (count for count in _shots(rows) if count > 1):
                cell = _cell(rows, seed, shots)
                reference = _icl(cell, metric)
                by_seed.setdefault(seed, []).extend(
                    getattr(row, metric) < reference for row in cell if row.is_finetuned
                )
    return over_units([mean(found) for found in by_seed.values()], _DRAWS)


def share_of_cells_where_icl_wins(studies: Studies, arm: str) -> Effect:
    """Share of dataset × shots in which ICL is more accurate than an arm (mean over rates), over draws."""
    by_seed: dict[int, list[bool]] = {}
    for study in studies.values():
        rows = output_rows(study)
        for seed in _seeds(rows):
            for shots in _shots(rows):
                cell = _cell(rows, seed, shots)
                by_seed.setdefault(seed, []).append(_icl(cell, "accuracy") > _last(cell, arm, "accuracy"))
    return over_units([mean(found) for found in by_seed.values()], _DRAWS)


def growth_of_icl_less_arm(studies: Studies, arm: str, few: int, many: int) -> Effect:
    """What more demonstrations add to the accuracy of ICL, less to an arm's, over datasets and draws."""
    values = []
    for study in studies.values():
        rows = output_rows(study)
        for seed in _seeds(rows):
            less, more = _cell(rows, seed, few), _cell(rows, seed, many)
            icl = _icl(more, "accuracy") - _icl(less, "accuracy")
            values.append(icl - (_last(more, arm, "accuracy") - _last(less, arm, "accuracy")))
    return over_units(values, _units(studies))


def growth_of_arm(studies: Studies, arm: str, few: int, many: int) -> Effect:
    """What more demonstrations add to the accuracy of an arm at its best rate, over datasets and draws."""
    values = []
    for study in studies.values():
        rows = output_rows(study)
        for seed in _seeds(rows):
            values.append(_best(_cell(rows, seed, many), arm)[0] - _best(_cell(rows, seed, few), arm)[0])
    return over_units(values, _units(studies))


def nearest_rate_to_icl(studies: Studies, arm: str, shots: int) -> Effect:
    """Smallest |accuracy of ICL − accuracy of an arm| over rates at the last epoch, over datasets and draws."""

    def distance(rows: Sequence[OutputRow]) -> float:
        return _nearest(rows, arm)[0]

    return over_units(_each(studies, distance, shots), _units(studies))


def distinct_nearest_rates(studies: Studies, arm: str, shots: int) -> Effect:
    """How many different rates come nearest to ICL over the datasets, over draws."""
    nearest: dict[int, set[float]] = {}
    for study in studies.values():
        rows = output_rows(study)
        for seed in _seeds(rows):
            nearest.setdefault(seed, set()).add(_nearest(_cell(rows, seed, shots), arm)[1])
    return over_units([len(rates) for rates in nearest.values()], _DRAWS)


def gap_of_largest_less_smallest(studies: Studies, arm: str) -> Effect:
    """Accuracy of ICL less an arm's: the last model's less the first's, over draws."""
    first, *_, last = studies.values()
    gaps = []
    for study in (first, last):
        rows = output_rows(study)
        gaps.append(
            {seed: _icl(cell, "accuracy") - _last(cell, arm, "accuracy") for seed, cell in _by_seed(rows)}
        )
    return over_units([gaps[1][seed] - gap for seed, gap in gaps[0].items()], _DRAWS)


def icl_agreement_less_pairs(studies: Studies, metric: Literal["token_overlap", "ocs"]) -> Effect:
    """Agreement of ICL with ICL less that between later GD checkpoints, over draws."""
    (study,) = studies.values()
    rows = output_rows(study)
    pairs = late_pairs(study, GD, metric)
    return over_units(
        [_icl(_of_seed(rows, seed), metric) - mean(found) for seed, found in pairs.items()],
        _DRAWS,
    )


def share_of_small_pairs(studies: Studies, metric: Literal["token_overlap", "ocs"]) -> Effect:
    """Share of pairs of later GD checkpoints that agree less than by one half, over draws."""
    (study,) = studies.values()
    pairs = late_pairs(study, GD, metric)
    return over_units([mean(value < 0.5 for value in found) for found in pairs.values()], _DRAWS)


def _each(studies: Studies, measure: Callable[[Sequence[OutputRow]], float], shots: int) -> list[float]:
    values = []
    for study in studies.values():
        rows = output_rows(study)
        values += [measure(_cell(rows, seed, shots)) for seed in _seeds(rows)]
    return values


def _units(studies: Studies) -> str:
    return _DRAWS if len(studies) == 1 else "datasets and draws"


def _seeds(rows: Sequence[OutputRow]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(row.seed for row in rows))


def _shots(rows: Sequence[OutputRow]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(row.shots for row in rows))


def _arms(rows: Sequence[OutputRow]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.arm for row in rows if row.is_finetuned))


def _of_seed(rows: Sequence[OutputRow], seed: int) -> list[OutputRow]:
    return [row for row in rows if row.seed == seed]


def _by_seed(rows: Sequence[OutputRow]) -> list[tuple[int, list[OutputRow]]]:
    return [(seed, _of_seed(rows, seed)) for seed in _seeds(rows)]


def _cell(rows: Sequence[OutputRow], seed: int, shots: int) -> list[OutputRow]:
    return [row for row in rows if row.seed == seed and row.shots == shots]


def _icl(rows: Sequence[OutputRow], metric: str) -> float:
    return _mean([getattr(row, metric) for row in rows if row.arm == ICL])


def _at_last_epoch(rows: Sequence[OutputRow], arm: str) -> list[OutputRow]:
    found = [row for row in rows if row.arm == arm]
    last = max((row.epoch for row in found), default=0)
    return [row for row in found if row.epoch == last]


def _last(rows: Sequence[OutputRow], arm: str, metric: str) -> float:
    return _mean([getattr(row, metric) for row in _at_last_epoch(rows, arm)])


def _accuracy_by_rate(rows: Sequence[OutputRow], arm: str) -> dict[float, float]:
    rates: dict[float, list[float]] = {}
    for row in _at_last_epoch(rows, arm):
        rates.setdefault(row.learning_rate, []).append(row.accuracy)
    means = {rate: _mean(values) for rate, values in rates.items()}
    return {rate: value for rate, value in means.items() if not math.isnan(value)}


def _best(rows: Sequence[OutputRow], arm: str) -> tuple[float, float]:
    """Return the best accuracy over rates, and its rate."""
    found = _accuracy_by_rate(rows, arm)
    if not found:
        return math.nan, math.nan
    rate = max(found, key=lambda candidate: found[candidate])
    return found[rate], rate


def _nearest(rows: Sequence[OutputRow], arm: str) -> tuple[float, float]:
    """Return the smallest distance to ICL's accuracy over rates, and its rate."""
    icl = _icl(rows, "accuracy")
    found = _accuracy_by_rate(rows, arm)
    if not found:
        return math.nan, math.nan
    rate = min(found, key=lambda candidate: abs(found[candidate] - icl))
    return abs(found[rate] - icl), rate


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return mean(defined) if defined else math.nan
