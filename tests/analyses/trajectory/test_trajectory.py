"""Comparisons along finetuning: what is seen at a step is what stopping there gives, and what is nearest is found."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_checkpoint import TEMPLATE

import iclprobe
from iclprobe import Study, UserError
from iclprobe.analyses.comparison.measures import Intervals
from iclprobe.analyses.trajectory.along import looked_at
from iclprobe.analyses.trajectory.matching import Point, matched_rows, nearest
from iclprobe.analyses.trajectory.names import (
    ACCURACY,
    CALIBRATED,
    LABEL_KL,
    LIKENESS,
    SHARED_BASELINE,
    UNITS,
)

RATES = (0.02, 0.1)


@pytest.fixture(scope="module")
def asked(checkpoint: Path, records: Path) -> dict[str, Any]:
    return {
        "model": str(checkpoint),
        "task": "tone",
        "template": TEMPLATE,
        "label_words": ("bad", "good"),
        "separator": "<end-of-sequence>",
        "data": str(records),
        "device": "cpu",
        "limit": 8,
        "shots": 4,
        "seeds": (0, 1),
        "null_draws": 2,
        "resamples": 50,
        "batch_size": 4,
    }


@pytest.fixture(scope="module")
def study(asked: dict[str, Any]) -> Study:
    return iclprobe.trajectory(learning_rate=RATES, epochs=2, **asked)


def value(study: Study, rate: float, step: int, measure: str) -> float:
    points = study.tables["points"].set_index(["learning_rate", "step", "measure"])
    return float(points.loc[(rate, step, measure), "value"])


@pytest.mark.parametrize("rate", RATES)
def test_what_is_seen_at_the_last_step_is_the_comparison_after_it(
    study: Study, asked: dict[str, Any], rate: float
) -> None:
    recipe = {"preset": "dai", "epochs": 2, "learning_rate": rate}
    compared = iclprobe.compare(recipes=(recipe,), keep_rows=0, keep_maps=0, **asked)
    for name, theirs in (
        ("SimAOU", "SimAOU"),
        ("SimAOU partial", "SimAOU partial"),
        ("SimAM after finetuning", "SimAM after finetuning"),
        (SHARED_BASELINE, SHARED_BASELINE),
        ("accuracy", "accuracy, finetuned"),
        ("calibrated accuracy", "calibrated accuracy, finetuned"),
    ):
        assert value(study, rate, 8, name) == pytest.approx(compared[theirs], rel=1e-4, abs=1e-5), name


def test_what_is_seen_on_the_way_is_what_stopping_there_gives(study: Study, asked: dict[str, Any]) -> None:
    stopped = iclprobe.compare(
        recipes=({"preset": "dai", "epochs": 1, "learning_rate": RATES[1]},),
        keep_rows=0,
        keep_maps=0,
        **asked,
    )
    for name in ("SimAOU", "SimAOU partial"):
        assert value(study, RATES[1], 4, name) == pytest.approx(stopped[name], rel=1e-4, abs=1e-5)


def test_the_steps_are_powers_of_two_and_the_last(study: Study) -> None:
    assert looked_at(None, 40) == (1, 2, 4, 8, 16, 32, 40)
    assert looked_at(None, 1) == (1,) and looked_at((3, 99), 8) == (3, 8)
    points = study.tables["points"]
    assert sorted(set(points["step"])) == [1, 2, 4, 8]
    assert (
        set(points["measure"]) == set(UNITS)
        and (points["queries"] == 8).all()
        and (points["draws"] == 2).all()
    )


def test_the_label_kl_is_that_of_the_answers(study: Study, asked: dict[str, Any]) -> None:
    recipe = {"preset": "dai", "epochs": 2, "learning_rate": RATES[1]}
    logprobs = iclprobe.compare(recipes=(recipe,), keep_rows=0, keep_maps=0, **asked).tables["label_logprobs"]
    found = []
    for _, rows in logprobs.groupby(["seed", "query"]):
        p, q = (
            torch.tensor(rows[rows["setting"] == setting].sort_values("label")["logprob"].to_numpy()).softmax(
                -1
            )
            for setting in ("icl", "ft")
        )
        found.append(float((p * (p / q).log()).sum()))
    assert value(study, RATES[1], 8, LABEL_KL) == pytest.approx(sum(found) / len(found), rel=1e-4)


def point(rate: float, step: int, accuracy: float, kl: float, simaou: float, draws: int = 1) -> Point:
    numbers = {ACCURACY: accuracy, CALIBRATED: accuracy, LABEL_KL: kl, SHARED_BASELINE: 0.0}
    numbers |= dict.fromkeys(LIKENESS, simaou)
    values = {name: torch.full((6, 1, 1), number, dtype=torch.float64) for name, number in numbers.items()}
    return Point(16, rate, step, values, draws)


def test_the_nearest_step_is_found_and_each_rate_has_its_own() -> None:
    icl = torch.full((6, 1, 1), 80.0, dtype=torch.float64)
    points = [
        point(1e-3, 1, 50, 0.50, 0.05),
        point(1e-3, 8, 78, 0.09, 0.10),
        point(1e-2, 1, 82, 0.30, 0.17),
        point(1e-2, 8, 95, 0.04, 0.30),
    ]
    # Equally near in accuracy, the one with less label KL.
    assert nearest(points, icl, "accuracy") is points[1]
    assert nearest(points, icl, "label KL") is points[3]
    rows = matched_rows(points, {16: icl}, Intervals(20, 0.95))
    found = {
        (row["by"], row["learning_rate"]): (row["step"], row["distance"], row["value"], row["nearest"])
        for row in rows
        if row["measure"] == "SimAOU"
    }
    assert found == {
        ("accuracy", 1e-3): (8, pytest.approx(-2), pytest.approx(0.10), True),
        ("accuracy", 1e-2): (1, pytest.approx(2), pytest.approx(0.17), False),
        ("label KL", 1e-3): (8, pytest.approx(0.09), pytest.approx(0.10), False),
        ("label KL", 1e-2): (8, pytest.approx(0.04), pytest.approx(0.30), True),
    }


def test_a_step_that_not_every_draw_reached_is_no_match() -> None:
    icl = torch.full((6, 1, 1), 80.0, dtype=torch.float64)
    points = [point(1e-3, 1, 50, 0.5, 0.1, draws=2), point(1e-2, 1, 80, 0.0, 0.9, draws=1)]
    assert nearest(points, icl, "accuracy") is points[0]
    assert {row["learning_rate"] for row in matched_rows(points, {16: icl}, Intervals(20, 0.95))} == {1e-3}
    nothing = point(1e-3, 1, math.nan, math.nan, math.nan)
    assert nearest([nothing], icl, "accuracy") is None


def test_a_rate_that_diverges_keeps_what_was_seen_before_and_is_said(asked: dict[str, Any]) -> None:
    asked = {**asked, "recipe": {"preset": "dai", "parameters": "all"}}
    study = iclprobe.trajectory(learning_rate=(0.02, 1e18), steps=(99,), **asked)
    runs = study.tables["runs"].set_index(["learning_rate", "seed"])["ended"]
    assert runs[0.02].all() and not runs[1e18].any()
    assert "diverged" in str(study)
    with pytest.raises(UserError, match="diverged at every learning rate"):
        iclprobe.trajectory(learning_rate=(1e18,), steps=(99,), **asked)


def test_the_sheet_the_figure_and_the_run_directory(
    study: Study, asked: dict[str, Any], tmp_path: Path
) -> None:
    text = str(study)
    assert (
        "nearest to ICL in accuracy" in text and "nearest to ICL in label KL" in text and "(nearest)" in text
    )
    assert any("each rate at its step nearest to ICL" in one.sentence for one in study.findings)
    assert len(study.plot("trajectory").axes) == 6
    brief = {**asked, "seeds": (0,), "shots": (2, 4)}
    made = iclprobe.trajectory(learning_rate=(0.05,), steps=(1,), out=tmp_path / "run", page=False, **brief)
    read = iclprobe.load_study(tmp_path / "run")
    assert str(read.tables["points"]) == str(made.tables["points"])
    assert read.config.learning_rate == (0.05,) and set(read.tables["points"]["shots"]) == {2, 4}


def test_recipes_that_imitate_icl_are_followed_too(asked: dict[str, Any]) -> None:
    recipe = {"preset": "match_icl", "target_records": 8, "batch_size": 4}
    study = iclprobe.trajectory(recipe=recipe, learning_rate=(3e-3,), **{**asked, "seeds": (0,)})
    likeness = [value(study, 3e-3, step, "SimAOU") for step in (1, 8)]
    assert likeness[1] > likeness[0]


def test_mistakes_are_one_sentence(asked: dict[str, Any]) -> None:
    for wrong in ({"learning_rate": "auto"}, {"learning_rate": (0.1, 0.1)}, {"steps": (0,)}):
        with pytest.raises(UserError):
            iclprobe.trajectory(**{**asked, **wrong})
