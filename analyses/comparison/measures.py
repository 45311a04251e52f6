"""The numbers of a comparison: each with its interval, its counts and its name."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ...probes import (
    Agreement,
    Ratio,
    SimAMMeans,
    accuracy,
    bootstrap_mean,
    calibrated_accuracy,
    changed_predictions,
    jaccard,
    mean_over_layers,
    rec2ftp,
)
from ...seeds import derive_seed
from ...study.names import (
    DELTA,
    DELTA_NULL,
    FT_NORM,
    ICL_NORM,
    PARTIAL,
    PARTIAL_NULL,
    SETTING_NAMES,
)
from .draw import SETTINGS, Draw


@dataclass(frozen=True)
class Measure:
    """One number.

    Attributes:
        name: What it is.
        unit: ``%`` or ``cosine``.
        value: The number; NaN where a denominator is empty.
        low: Lower end of the bootstrap interval over queries, for this draw of demonstrations.
        high: Upper end.
        numerator: What a percentage counts, else None.
        denominator: Out of how many, else None.
    """

    name: str
    unit: str
    value: float
    low: float = math.nan
    high: float = math.nan
    numerator: int | None = None
    denominator: int | None = None


@dataclass(frozen=True)
class Intervals:
    """How intervals are made.

    Attributes:
        resamples: Bootstrap resamples.
        level: Coverage.
    """

    resamples: int
    level: float


def measures_of(draw: Draw, agreement: Agreement, intervals: Intervals) -> tuple[Measure, ...]:
    """Return every number of one draw, in the order of the table."""

    def ratio(name: str, value: Ratio) -> Measure:
        interval = value.interval(
            seed=derive_seed("bootstrap", name), resamples=intervals.resamples, level=intervals.level
        )
        return Measure(
            name,
            "%",
            value.percent,
            float(interval.low),
            float(interval.high),
            value.numerator,
            value.denominator,
        )

    def similarity(name: str, per_example: Tensor) -> Measure:
        interval = bootstrap_mean(
            per_example,
            seed=derive_seed("bootstrap", name),
            resamples=intervals.resamples,
            level=intervals.level,
            statistic=mean_over_layers,
        )
        return Measure(name, "cosine", float(interval.estimate), float(interval.low), float(interval.high))

    answers = draw.answers
    zsl, icl, ft = (answers[setting].prediction for setting in SETTINGS)
    overlap = jaccard(zsl, icl, ft, draw.gold, agreement)
    correct = [answers[setting].correct for setting in SETTINGS]
    return (
        *(ratio(f"accuracy, {SETTING_NAMES[s]}", accuracy(answers[s].correct)) for s in SETTINGS),
        *(
            ratio(
                f"calibrated accuracy, {SETTING_NAMES[s]}",
                calibrated_accuracy(answers[s].label_logprobs, draw.gold),
            )
            for s in SETTINGS
        ),
        *(
            ratio(
                f"accuracy over the vocabulary, {SETTING_NAMES[s]}", accuracy(answers[s].correct_vocabulary)
            )
            for s in SETTINGS
        ),
        ratio("predictions changed by ICL", changed_predictions(zsl, icl)),
        ratio("predictions changed by finetuning", changed_predictions(zsl, ft)),
        *(similarity(name, values) for name, values in similarities_of(draw).items()),
        ratio("Rec2FTP", rec2ftp(*correct)),
        ratio("Jaccard, all changes", overlap.all),
        ratio("Jaccard, correct changes", overlap.correct),
        ratio("Jaccard, incorrect changes", overlap.incorrect),
    )


def similarities_of(draw: Draw) -> dict[str, Tensor]:
    """Return every similarity of each query and layer, ``[N, L]`` by name, in the order of the table."""
    return {
        "SimAOU": draw.sim_aou.values,
        **{f"SimAOU, null {kind}": null.values for kind, null in draw.nulls.items()},
        PARTIAL: draw.sim_aou_partial.values,
        PARTIAL_NULL: draw.sim_aou_partial_null.values,
        **{name: sim_am.per_example for name, sim_am in _maps(draw).items()},
    }


def resampled_of(draw: Draw) -> dict[str, Tensor]:
    """Return everything that intervals resample, ``[N, L]`` by name: similarities and the lengths of updates."""
    return {
        **similarities_of(draw),
        ICL_NORM: draw.sim_aou.update_norms_icl,
        FT_NORM: draw.sim_aou.update_norms_ft,
    }


def _maps(draw: Draw) -> dict[str, SimAMMeans]:
    return {
        "SimAM before finetuning": draw.sim_am_before,
        "SimAM after finetuning": draw.sim_am_after,
        DELTA: draw.sim_am_delta,
        DELTA_NULL: draw.sim_am_delta_null,
    }


@dataclass(frozen=True)
class LayerProfile:
    """One measure by layer.

    Attributes:
        name: What it is.
        value: Mean over examples, ``[L]``.
        low: Lower end of the bootstrap interval, ``[L]``.
        high: Upper end, ``[L]``.
        defined: Examples (or example-head pairs) that have a value, ``[L]``.
        of: Examples (or example-head pairs) that there are, in a layer.
    """

    name: str
    value: Tensor
    low: Tensor
    high: Tensor
    defined: Tensor
    of: int


def layer_profiles_of(draw: Draw, intervals: Intervals) -> tuple[LayerProfile, ...]:
    """Return every measure that has a value in each layer, with intervals that resample queries jointly."""

    def profile(name: str, per_example: Tensor, means: SimAMMeans | None) -> LayerProfile:
        interval = bootstrap_mean(
            per_example,
            seed=derive_seed("bootstrap", name),
            resamples=intervals.resamples,
            level=intervals.level,
        )
        defined = (~per_example.isnan()).sum(0) if means is None else means.defined
        of = len(per_example) * (1 if means is None else means.counts.shape[1])
        return LayerProfile(name, interval.estimate, interval.low, interval.high, defined, of)

    maps = _maps(draw)
    return tuple(profile(name, values, maps.get(name)) for name, values in resampled_of(draw).items())


def head_profiles_of(draw: Draw) -> dict[str, Tensor]:
    """Return every measure that has a value in each layer and head, ``[L, H]``, mean over examples."""
    return {name: sim_am.head_profile for name, sim_am in _maps(draw).items() if name != DELTA_NULL}
