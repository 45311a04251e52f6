"""The numbers of a comparison, against values worked out by hand and by plain loops."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from made_draws import answers, made_draw

from iclprobe.analyses.comparison.draw import Draw
from iclprobe.analyses.comparison.measures import (
    Intervals,
    Measure,
    head_profiles_of,
    layer_profiles_of,
    measures_of,
)
from iclprobe.analyses.comparison.rows import over_draws_rows
from iclprobe.analyses.comparison.tables import MEASURES
from iclprobe.probes import SimAM, SimAOU

INTERVALS = Intervals(resamples=200, level=0.9)

# Every count below differs between the settings, and between every two of them, so that none can stand for another.
GOLD = [1, 1, 1, 0, 0, 0]
PREDICTIONS = {"zsl": [0, 0, 0, 0, 0, 1], "icl": [1, 1, 0, 0, 0, 0], "ft": [1, 1, 1, 1, 1, 1]}


def hand_made_draw() -> Draw:
    """Six queries whose predictions are written down above; the vocabulary agrees on the first three."""
    gold = torch.tensor(GOLD)
    reached = torch.tensor([True, True, True, False, False, False])
    return replace(
        made_draw(n=6),
        gold=gold,
        answers={
            setting: answers(torch.nn.functional.one_hot(torch.tensor(labels), 2).float(), gold, reached)
            for setting, labels in PREDICTIONS.items()
        },
    )


def by_name(draw: Draw, agreement: str = "same_label") -> dict[str, Measure]:
    return {measure.name: measure for measure in measures_of(draw, agreement, INTERVALS)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "numerator", "denominator"),
    [
        ("accuracy, zero-shot", 2, 6),
        ("accuracy, ICL", 5, 6),
        ("accuracy, finetuned", 3, 6),
        ("calibrated accuracy, zero-shot", 2, 6),
        ("calibrated accuracy, ICL", 5, 6),
        ("calibrated accuracy, finetuned", 3, 6),
        ("accuracy over the vocabulary, zero-shot", 0, 6),
        ("accuracy over the vocabulary, ICL", 2, 6),
        ("accuracy over the vocabulary, finetuned", 3, 6),
        ("predictions changed by ICL", 3, 6),
        ("predictions changed by finetuning", 5, 6),
        ("Rec2FTP", 2, 3),
        ("Jaccard, all changes", 2, 6),
        ("Jaccard, correct changes", 2, 4),
        ("Jaccard, incorrect changes", 0, 2),
    ],
)
def test_ratios_are_those_counted_by_hand(name: str, numerator: int, denominator: int) -> None:
    measure = by_name(hand_made_draw())[name]
    assert (measure.numerator, measure.denominator) == (numerator, denominator)
    assert measure.value == pytest.approx(100 * numerator / denominator)
    assert measure.unit == "%"


def test_similarities_are_means_over_examples_then_layers_without_what_is_undefined() -> None:
    values = torch.tensor([[0.1, math.nan, 0.5], [0.3, math.nan, math.nan]], dtype=torch.float64)
    norms = torch.ones_like(values)
    draw = replace(made_draw(n=2), sim_aou=SimAOU(values, norms, norms))
    # Layer 0: (0.1 + 0.3) / 2 = 0.2; layer 1: undefined; layer 2: 0.5; mean over layers: 0.35.
    assert by_name(draw)["SimAOU"].value == pytest.approx(0.35)
    profile = {profile.name: profile for profile in layer_profiles_of(draw, INTERVALS)}["SimAOU"]
    assert profile.value.tolist() == pytest.approx([0.2, math.nan, 0.5], nan_ok=True)
    assert profile.defined.tolist() == [2, 0, 1]


def test_sim_am_is_the_mean_over_heads_then_examples_then_layers() -> None:
    values = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draw = replace(made_draw(n=5, layers=(0, 1), heads=3), sim_am_after=SimAM("raw", values).means())
    total = 0.0
    for layer in range(2):
        per_example = [sum(heads) / 3 for heads in values[:, layer].tolist()]
        total += sum(per_example) / 5 / 2
    assert by_name(draw)["SimAM after finetuning"].value == pytest.approx(total)
    head = head_profiles_of(draw)["SimAM after finetuning"][1, 2]
    assert float(head) == pytest.approx(sum(values[:, 1, 2].tolist()) / 5)


def test_intervals_hold_the_value_and_are_the_same_each_time() -> None:
    draw = made_draw(n=30)
    for first, second in zip(by_name(draw).values(), by_name(draw).values(), strict=True):
        assert first == second
        assert first.low <= first.value <= first.high


def test_without_a_change_what_divides_by_it_is_undefined() -> None:
    measures = by_name(made_draw(finetuning_changes=False))
    assert measures["predictions changed by finetuning"].numerator == 0
    assert math.isnan(measures["Rec2FTP"].value)
    assert measures["Rec2FTP"].denominator == 0


def test_over_draws_gives_mean_and_sample_deviation_of_the_draws_that_have_a_value() -> None:
    def spread_of(*values: float) -> Any:
        rows = [
            {"seed": seed, "measure": "Rec2FTP", "unit": "%", "value": value}
            for seed, value in enumerate(values)
        ]
        unused = dict.fromkeys(("low", "high", "numerator", "denominator"))
        (spread,) = over_draws_rows(MEASURES.frame({**row, **unused} for row in rows)).itertuples(index=False)
        return spread

    result = spread_of(10.0, math.nan, 30.0)
    assert (result.mean, result.draws) == (20.0, 2)
    assert result.std == pytest.approx(math.sqrt(200.0))
    single = spread_of(10.0)
    assert single.mean == 10.0
    assert math.isnan(single.std)


def test_every_interval_has_the_level_and_the_resamples_that_were_asked_for() -> None:
    draw = made_draw(n=30)
    asked = {name: Intervals(*options) for name, options in (("wide", (200, 0.9)), ("narrow", (200, 0.3)))}
    few = Intervals(3, 0.9)
    measured = {name: measures_of(draw, "same_label", intervals) for name, intervals in asked.items()}
    for wide, narrow, rough in zip(*measured.values(), measures_of(draw, "same_label", few), strict=True):
        if wide.low == wide.high:
            assert wide.value in (0.0, 100.0)  # Of what is never so, or always, all resamples say the same.
            continue
        assert narrow.high - narrow.low < wide.high - wide.low, wide.name
        assert (rough.low, rough.high) != (wide.low, wide.high), wide.name
    profiled = {name: layer_profiles_of(draw, intervals) for name, intervals in asked.items()}
    for wide, narrow, rough in zip(*profiled.values(), layer_profiles_of(draw, few), strict=True):
        assert (narrow.high - narrow.low < wide.high - wide.low).all(), wide.name
        assert not torch.equal(rough.low, wide.low), wide.name
