"""What draws leave in tables, and what a comparison's study gives of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_draws import made_comparison, made_draw

from iclprobe.analyses.comparison.cells import cells_of
from iclprobe.analyses.comparison.comparison import Comparison
from iclprobe.analyses.comparison.config import CompareConfig
from iclprobe.analyses.comparison.measures import Intervals, measures_of
from iclprobe.errors import UserError
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models.recipe import Recipe, load_recipe
from iclprobe.probes import mean_and_std
from iclprobe.settings import make_config
from iclprobe.study.config_text import config_text
from iclprobe.study.loading import load_study

INTERVALS = Intervals(50, 0.95)
SETTINGS = ("zsl", "icl", "ft")


@pytest.mark.parametrize(
    "config",
    [
        CompareConfig(),
        CompareConfig(
            seeds=(0, 1),
            shots=(1, 4),
            columns={"sentence": "text"},
            label_words=("schlecht", "größer"),
            learning_rate=1e-5,
            plan=CapturePlan(layers=(0, -1), positions="first_label_token"),
        ),
        make_config(
            CompareConfig,
            {"recipe": {"preset": "shen", "epochs": 3}, "plan": CapturePlan(layers=slice(1, None, 2))},
            "",
        ),
        CompareConfig(recipes=(Recipe(optimizer="adam"),), plan=CapturePlan(layers=slice(None, 4)), limit=5),
    ],
)
def test_the_written_configuration_makes_the_same_comparison(config: CompareConfig) -> None:
    text = config_text("compare", config)
    assert "größer" in text or config.label_words is None
    written = yaml.safe_load(text)
    assert written.pop("analysis") == "compare"
    again = CompareConfig(**written)
    assert [*map(load_recipe, again.recipes)] == [*map(load_recipe, config.recipes)]
    assert again.model_copy(update={"recipes": ()}) == config.model_copy(update={"recipes": ()})


def test_one_recipe_is_several_of_one_and_the_later_of_two_counts() -> None:
    def recipes(**values: Any) -> tuple[Any, ...]:
        return make_config(CompareConfig, values, "here").recipes

    assert recipes(recipe="shen") == recipes(recipes=("shen",)) == ("shen",)
    assert recipes(recipe="dai,shen") == ("dai", "shen")
    # As an option comes after what a file says.
    assert recipes(recipes=("dai", "shen"), recipe="shen_sgd") == ("shen_sgd",)
    assert recipes(recipe="shen_sgd", recipes=("dai", "shen")) == ("dai", "shen")


def test_a_finetuned_model_is_one_comparison_for_each_number_of_shots() -> None:
    config = make_config(CompareConfig, {"finetuned": "a/b", "shots": (1, 2)}, "here")
    assert list(cells_of(config)) == [("b", 1), ("b", 2)]
    with pytest.raises(UserError, match="without several recipes"):
        make_config(CompareConfig, {"finetuned": "a/b", "recipes": ("dai", "shen")}, "here")


def test_every_number_of_a_draw_is_a_row() -> None:
    draws = [made_draw(0), made_draw(1, finetuning_changes=False)]
    frame: Any = made_comparison(draws).to_pandas()
    assert len(frame) == 2 * 25
    for draw in draws:
        found = frame[frame["seed"] == draw.seed]
        for row, measure in zip(
            found.to_dict("records"), measures_of(draw, "same_label", INTERVALS), strict=True
        ):
            assert row["measure"] == measure.name
            for name in ("value", "low", "high"):
                assert repr(row[name]) == repr(getattr(measure, name))
    row = frame[(frame["seed"] == 1) & (frame["measure"] == "Rec2FTP")].iloc[0]
    assert (math.isnan(row["value"]), row["numerator"], row["denominator"]) == (True, 0, 0)
    assert frame["numerator"].dtype == "Int64"


def test_undefined_similarities_changes_and_what_was_left_out_are_counted() -> None:
    draw = made_draw(finetuning_changes=False, frozen_layers=1, half_precision=True)
    tables = made_comparison([draw]).tables
    layers = tables["layers"].set_index(["measure", "layer"])
    for name, of in (("SimAOU", 12), ("SimAOU partial", 12), ("SimAM of the changes (delta)", 24)):
        assert layers.loc[name, "defined"].tolist() == [0, of, of]
        assert layers.loc[name, "of"].tolist() == [of] * 3
    (row,) = tables["draws"].to_dict("records")
    assert row["ft_correct"] == 0 and row["union"] == row["icl_correct"] + row["icl_incorrect"]
    assert (row["train_left_out"], row["validation_left_out"], row["queries_skipped"]) == (3, 1, 2)
    assert tables["losses"]["loss"].tolist() == [2.5, 2.25]
    (evaluation,) = tables["evaluations"].to_dict("records")
    assert (evaluation["epoch"], evaluation["accuracy"], evaluation["gold_logprob"]) == (1, 50.0, -0.7)
    rates = tables["rate_search"].set_index("learning_rate")["outcome"].to_dict()
    assert rates == {0.001: "tried", 0.01: "chosen", 1.0: "diverged"}
    assert math.isinf(tables["rate_search"]["held_out_nll"].iloc[2])
    assert len(tables["noise"]) == 3
    assert set(tables["null_draws"]["null"]) == {"gaussian", "permuted_pairs", "shared_baseline"}


def test_the_draws_of_a_null_keep_its_spread() -> None:
    draw = made_draw()
    rows = made_comparison([draw]).tables["null_draws"]
    for kind, null in draw.nulls.items():
        means = rows[rows["null"] == kind].groupby("null_draw")["value"].mean()
        assert float(mean_and_std(means.tolist()).std) == pytest.approx(
            float(mean_and_std(null.draw_profiles.nanmean(1)).std)
        )


def test_weights_finetuned_elsewhere_have_no_run() -> None:
    tables = made_comparison([made_draw(somebody_elses=True)]).tables
    (row,) = tables["finetuning"].to_dict("records")
    assert row["source"] == "somewhere/finetuned" and math.isnan(row["learning_rate"])
    assert tables["losses"].empty and tables["rate_search"].empty


def test_layers_have_one_row_for_each_draw_layer_and_measure() -> None:
    draws = [made_draw(seed, layers=(4, 1), frozen_layers=1) for seed in (0, 1)]
    frame = made_comparison(draws).tables["layers"]
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
    frame = made_comparison([draw]).tables["heads"]
    assert len(frame) == 3 * 3 * 3
    row = frame[
        (frame.layer == 2) & (frame["head"] == 1) & (frame.measure == "SimAM before finetuning")
    ].iloc[0]
    assert row.value == pytest.approx(float(draw.sim_am_before.head_profile[2, 1]))


def test_every_query_has_its_answers_and_similarities() -> None:
    draws = [made_draw(seed, n=5) for seed in (0, 1)]
    tables = {
        name: frame[frame["seed"] == 1]
        for name, frame in made_comparison(draws).tables.items()
        if "query" in frame
    }
    draw = draws[1]
    (query,) = tables["queries"][tables["queries"]["query"] == 2].to_dict("records")
    assert (query["query_index"], query["text"]) == (12, draw.queries[2])
    assert query["gold"] == draw.label_names[int(draw.gold[2])]
    for setting in SETTINGS:
        said = draw.answers[setting]
        rows = tables["answers"][tables["answers"]["setting"] == setting]
        (row,) = rows[rows["query"] == 2].to_dict("records")
        assert row["prediction"] == draw.label_names[int(said.prediction[2])]
        assert row["correct"] == (row["prediction"] == query["gold"])
        calibrated = int((said.label_logprobs[2] - said.label_logprobs.mean(0)).argmax())
        assert row["correct_calibrated"] == (calibrated == int(draw.gold[2]))
        assert row["correct_vocabulary"] == bool(said.correct_vocabulary[2])
        logprobs = tables["label_logprobs"]
        found = logprobs[(logprobs["setting"] == setting) & (logprobs["query"] == 2)].set_index("label")
        assert found.loc["positive", "logprob"] == float(said.label_logprobs[2, 1])
    rows = tables["similarities"][tables["similarities"]["query"] == 2]
    assert rows["SimAOU"].tolist() == draw.sim_aou.values[2].tolist()
    assert rows["SimAOU partial"].tolist() == draw.sim_aou_partial.values[2].tolist()
    assert rows["SimAM after finetuning"].tolist() == draw.sim_am_after.per_example[2].tolist()
    for kind, null in draw.nulls.items():
        assert rows[f"SimAOU, null {kind}"].tolist() == null.values[2].tolist()


@pytest.fixture(scope="module")
def several() -> Comparison:
    return made_comparison(
        {
            (recipe, shots): [made_draw(0), made_draw(1, icl_learns=recipe == "a")]
            for shots in (2, 4)
            for recipe in ("a", "b")
        }
    )


def test_a_comparison_among_several_is_what_it_is_alone(several: Comparison) -> None:
    assert several.cells == (("a", 2), ("b", 2), ("a", 4), ("b", 4))
    one = several["b", 4]
    alone = made_comparison({("b", 4): [made_draw(0), made_draw(1, icl_learns=False)]})
    assert one.cells == alone.cells == (("b", 4),)
    assert one.table() == alone.table() and repr(one.findings) == repr(alone.findings)
    assert (one.config.shots, len(one.config.recipes)) == ((4,), 1)
    for name, frame in alone.tables.items():
        assert frame.equals(one.tables[name]), name
    assert one["SimAOU"] == alone["SimAOU"]


def test_what_is_not_there_is_named(several: Comparison) -> None:
    with pytest.raises(KeyError, match=r"'a', 2"):
        several["a", 3]
    with pytest.raises(KeyError, match=r"several comparisons.*\['b', 4\]"):
        several["SimAOU"]
    with pytest.raises(KeyError, match="SimAOU partial"):
        several["a", 2]["similarity"]


def test_findings_say_where_and_hold_every_number(several: Comparison) -> None:
    results = [finding for finding in several.findings if finding.kind == "result"]
    assert len(results) == 4 * 25
    found = next(f for f in results if (f.name, f.where) == ("SimAOU", {"recipe": "b", "shots": 4}))
    over = several["b", 4].tables["over_draws"].set_index("measure")
    assert found.value == over.loc["SimAOU", "mean"]
    assert found.null == over.loc["SimAOU, null shared_baseline", "mean"]
    assert found.high - found.value == pytest.approx(over.loc["SimAOU", "std"])
    alarms = [finding.where for finding in several.findings if finding.kind == "alarm"]
    assert alarms == [{"recipe": "b", "shots": shots, "seed": 1} for shots in (2, 4)]
    single = next(f for f in made_comparison([made_draw()]).findings if f.name == "SimAOU")
    assert not single.where and single.low <= single.value <= single.high and "bootstrap" in single.basis


def test_a_saved_study_is_read_back_whole(several: Comparison, tmp_path: Path) -> None:
    several["a", 2].save(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == {
        "layer_profile.png",
        "heads.png",
        "finetuning_drift.png",
    }
    loaded = load_study(tmp_path / "run")
    assert isinstance(loaded, Comparison)
    for name, frame in several["a", 2].tables.items():
        assert frame.equals(loaded.tables[name]), name
    assert loaded.table() == several["a", 2].table()
    assert loaded["a", 2].table() == loaded.table()
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["provenance"]["captures"]["a, 2 shots"]["0"]["zsl"]["prompts_sha256"] == "zsl0"
