"""What lies in a run directory."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pandas as pd
import pytest
import yaml
from made_draws import made_draw

from iclprobe.analyses.comparison.files import (
    config_values,
    examples_frame,
    heads_frame,
    layers_frame,
    results_of,
    write_comparison,
)
from iclprobe.analyses.comparison.measures import Intervals, measures_of
from iclprobe.analyses.configuration import CompareConfig
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models.recipe import Recipe, load_recipe
from iclprobe.study.run_directory import is_complete

CONFIG = CompareConfig(model="pocket", task="sst2", resamples=50)
INTERVALS = Intervals(50, 0.95)

FILES = {
    "config.yaml",
    "manifest.json",
    "results.json",
    "layers.csv",
    "heads.csv",
    "examples.csv",
    "table.txt",
    "layer_profile.png",
    "heads.png",
    "finetuning_drift.csv",
    "finetuning_drift.png",
}


def test_every_file_is_written_and_the_manifest_lists_the_others(tmp_path: Path) -> None:
    draw = made_draw(n=4, frozen_layers=1)
    write_comparison(tmp_path, CONFIG, [draw], {"seconds": math.nan, "captures": {}})
    assert {entry.name for entry in tmp_path.iterdir()} == FILES
    assert is_complete(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert set(manifest["files"]) == FILES - {"manifest.json"}
    assert manifest["captures"]["0"]["zsl"]["prompts_sha256"] == "zsl0"
    assert manifest["seconds"] is None
    for name in ("layer_profile.png", "heads.png", "finetuning_drift.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "results.json").read_text()) == results_of(CONFIG, [draw])
    with (tmp_path / "examples.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == list(draw.queries)
    for name, frame in (("layers", layers_frame([draw], INTERVALS)), ("heads", heads_frame([draw]))):
        assert list(pd.read_csv(tmp_path / f"{name}.csv").columns) == list(frame.columns)


def test_the_configuration_is_written_as_people_write_it(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"label_words": ("schlecht", "größer")})
    write_comparison(tmp_path, config, [made_draw(n=4)], {"captures": {}})
    assert "größer" in (tmp_path / "config.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "config",
    [
        CompareConfig(),
        CompareConfig(
            seeds=(0, 1),
            columns={"sentence": "text"},
            label_words=("schlecht", "größer"),
            learning_rate=1e-5,
            plan=CapturePlan(layers=(0, -1), positions="first_label_token"),
        ),
        CompareConfig(recipe={"preset": "shen", "epochs": 3}, plan=CapturePlan(layers=slice(1, None, 2))),
        CompareConfig(recipe=Recipe(optimizer="adam"), plan=CapturePlan(layers=slice(None, 4)), limit=5),
    ],
)
def test_the_written_configuration_makes_the_same_comparison(config: CompareConfig) -> None:
    text = yaml.safe_dump(config_values(config), sort_keys=False, allow_unicode=True)
    again = CompareConfig(**yaml.safe_load(text))
    assert load_recipe(again.recipe) == load_recipe(config.recipe)
    assert again.model_copy(update={"recipe": None}) == config.model_copy(update={"recipe": None})


def test_results_hold_every_number_and_null_where_there_is_none() -> None:
    draw = made_draw(finetuning_changes=False, frozen_layers=1, half_precision=True)
    results = results_of(CONFIG, [draw])
    json.dumps(results, allow_nan=False)
    (only,) = results["draws"]
    for measure in measures_of(draw, "same_label", INTERVALS):
        value = None if math.isnan(measure.value) else measure.value
        assert only["measures"][measure.name]["value"] == value
    assert only["measures"]["Rec2FTP"] == {
        "unit": "%",
        "value": None,
        "low": None,
        "high": None,
        "numerator": 0,
        "denominator": 0,
    }
    assert only["prediction_changes"]["ft_correct"] == 0
    assert (
        only["prediction_changes"]["union"]
        == only["prediction_changes"]["icl_correct"] + (only["prediction_changes"]["icl_incorrect"])
    )
    assert only["sim_aou_undefined"] == {"layers": 1, "examples_by_layer": [12, 0, 0]}
    assert only["sim_aou_partial_undefined"] == {"layers": 1, "examples_by_layer": [12, 0, 0]}
    assert only["sim_am_delta_undefined"] == {"layers": 1, "examples_and_heads_by_layer": [24, 0, 0]}
    assert set(only["nulls"]) == {"gaussian", "permuted_pairs", "shared_baseline"}
    assert only["records_left_out"] == {"train": 3, "validation": 1}
    assert only["finetuned"]["losses"] == [2.5, 2.25]
    assert only["finetuned"]["evaluations"] == [{"epoch": 1, "accuracy": 50.0, "gold_logprob": -0.7}]
    search = only["finetuned"]["learning_rate_search"]
    assert search["chosen"] == 0.01
    assert search["stopped_early"] == [] and search["offered"] == [0.001, 0.01, 1.0]
    assert search["candidates"][2] == {"learning_rate": 1.0, "held_out_nll": None, "diverged": True}
    assert len(only["noise_floor"]["ft_below"]) == 3


def test_results_of_weights_finetuned_elsewhere_have_no_run() -> None:
    finetuned = results_of(CONFIG, [made_draw(somebody_elses=True)])["draws"][0]["finetuned"]
    assert finetuned["source"] == "somewhere/finetuned"
    assert finetuned["losses"] is finetuned["learning_rate_search"] is None


def test_layers_have_one_row_for_each_draw_layer_and_measure() -> None:
    draws = [made_draw(seed, layers=(4, 1), frozen_layers=1) for seed in (0, 1)]
    frame = layers_frame(draws, INTERVALS)
    assert len(frame) == len(frame.drop_duplicates(["seed", "layer", "measure"])) == 2 * 2 * 12
    row = frame[(frame.seed == 1) & (frame.layer == 1) & (frame.measure == "SimAOU")].iloc[0]
    values = draws[1].sim_aou.values[:, 1].tolist()
    assert row.value == pytest.approx(sum(values) / len(values))
    assert row.low <= row.value <= row.high
    assert row.defined == 12
    frozen = frame[(frame.seed == 0) & (frame.layer == 4) & (frame.measure == "SimAOU")].iloc[0]
    assert math.isnan(frozen.value)
    assert frozen.defined == 0


def test_heads_have_one_row_for_each_draw_layer_head_and_measure() -> None:
    draw = made_draw(heads=3)
    frame = heads_frame([draw])
    assert len(frame) == 3 * 3 * 3
    row = frame[
        (frame.layer == 2) & (frame["head"] == 1) & (frame.measure == "SimAM before finetuning")
    ].iloc[0]
    assert row.value == pytest.approx(float(draw.sim_am_before.values[:, 2, 1].mean()))


def test_examples_have_one_row_for_each_draw_and_query() -> None:
    draws = [made_draw(seed, n=5) for seed in (0, 1)]
    frame = examples_frame(draws)
    assert len(frame) == 10
    row, draw = frame.iloc[7], draws[1]
    assert (row.seed, row.query_index, row.text) == (1, 12, draw.queries[2])
    assert row.gold == draw.label_names[int(draw.gold[2])]
    for setting in ("zsl", "icl", "ft"):
        answers = draw.answers[setting]
        assert row[f"{setting}_prediction"] == draw.label_names[int(answers.prediction[2])]
        assert row[f"{setting}_correct"] == (row[f"{setting}_prediction"] == row.gold)
        usual = answers.label_logprobs.mean(0)
        calibrated = int((answers.label_logprobs[2] - usual).argmax())
        assert row[f"{setting}_correct_calibrated"] == (calibrated == int(draw.gold[2]))
        assert row[f"{setting}_correct_vocabulary"] == bool(answers.correct_vocabulary[2])
        assert row[f"{setting}_logprob[positive]"] == pytest.approx(float(answers.label_logprobs[2, 1]))
    assert row.sim_aou == pytest.approx(float(draw.sim_aou.values[2].mean()))
    assert row.sim_aou_partial == pytest.approx(float(draw.sim_aou_partial.values[2].mean()))
    for kind, null in draw.nulls.items():
        assert row[f"sim_aou_null[{kind}]"] == pytest.approx(float(null.values[2].mean()))
