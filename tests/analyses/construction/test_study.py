"""A layer trained for in-context regression becomes a step of gradient descent, and where it stops being one."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from small_construction import CONFIG, small_study

from iclprobe.analyses.construction.config import ConstructionConfig
from iclprobe.analyses.construction.sparsity import THRESHOLDS, pretrained_curves
from iclprobe.analyses.construction.study import study_construction
from iclprobe.analyses.construction.sweeps import (
    DESCENT,
    INTERPOLATED,
    TRAINED,
    evaluation_tasks,
)
from iclprobe.analyses.construction.training import compare_layers, layer_predictions
from iclprobe.errors import UserError
from iclprobe.probes.linear_attention import LinearSelfAttention
from iclprobe.probes.linear_estimators import gradient_descent
from iclprobe.study.run_directory import is_complete

SMALLEST = CONFIG.model_copy(update={"steps": 3, "evaluate_every": 2, "evaluation_tasks": 20, "model": None})


def test_the_trained_layer_is_close_to_gradient_descent() -> None:
    study = small_study()
    before, after = study.training.agreements[0], study.agreement
    assert after.sensitivity_cosine > 0.99 > before.sensitivity_cosine
    assert after.prediction_difference < 0.1 * before.prediction_difference
    assert float(study.training.losses[-1]) == pytest.approx(study.construction_loss, rel=0.02)
    assert all(distance < 0.1 for distance in study.product_distances)


@pytest.mark.slow
def test_the_default_setting_reproduces_the_known_result() -> None:
    study = study_construction()
    assert study.agreement.prediction_difference < 0.02
    assert study.agreement.sensitivity_cosine > 0.99
    assert all(distance < 0.05 for distance in study.product_distances)
    assert float(study.interpolation.losses[INTERPOLATED].max()) < 1.01 * study.construction_loss
    unscaled = study.input_scales.values.index(1.0)
    for sweep in (study.input_scales, study.weight_scales):
        torch.testing.assert_close(sweep.losses[TRAINED], sweep.losses[DESCENT], rtol=0.1, atol=0)
    assert float(study.input_scales.differences[DESCENT][unscaled]) == pytest.approx(
        study.agreement.prediction_difference, rel=1e-4
    )


def test_the_construction_in_the_study_is_a_step_of_gradient_descent_with_the_best_step_size() -> None:
    study = small_study()
    tasks = evaluation_tasks(CONFIG, "evaluation")
    weights = gradient_descent(tasks.x, tasks.y, study.step_size)
    expected = (weights @ tasks.query[..., None])[..., 0]
    torch.testing.assert_close(layer_predictions(study.construction, tasks), expected)
    # For x ~ U(-½, ½) the best eta of infinitely many tasks is E tr A / E tr A², A the mean of x xᵀ.
    n_x, n = CONFIG.n_x, CONFIG.demonstrations
    squares = (n_x / 80 + n_x * (n_x - 1) / 144) / n + (n - 1) / n * n_x / 144
    assert study.step_size == pytest.approx((n_x / 12) / squares, rel=0.1)


def test_sensitivities_are_compared_as_they_follow_from_the_matrices() -> None:
    study, tasks = small_study(), evaluation_tasks(CONFIG, "evaluation")
    tokens = torch.cat([tasks.x, tasks.y], -1)
    moments = tokens.mT @ tokens

    def slopes(layer: LinearSelfAttention) -> torch.Tensor:
        return -(layer.projected_value @ moments @ layer.key_query)[:, CONFIG.n_x :, : CONFIG.n_x].flatten(1)

    trained, constructed = slopes(study.trained), slopes(study.construction)
    found = compare_layers(study.trained, study.construction, tasks)
    cosine = torch.nn.functional.cosine_similarity(trained, constructed).mean()
    assert found.sensitivity_cosine == pytest.approx(float(cosine), abs=1e-5)
    assert found.sensitivity_difference == pytest.approx(
        float((trained - constructed).norm(dim=1).mean()), rel=1e-3
    )
    assert found == study.agreement


def test_interpolation_runs_from_the_trained_layer_to_gradient_descent() -> None:
    study = small_study()
    line = study.interpolation
    assert line.values == (0, 0.25, 0.5, 0.75, 1)
    assert float(line.losses[INTERPOLATED][0]) == pytest.approx(float(study.training.losses[-1]), rel=1e-4)
    assert float(line.losses[INTERPOLATED][-1]) == pytest.approx(study.construction_loss, rel=1e-4)
    assert float(line.differences[INTERPOLATED][0]) < 1e-4


def test_scaling_w_scales_every_loss_by_its_square_for_gradient_descent() -> None:
    sweep = small_study().weight_scales
    one, three = sweep.losses[DESCENT].tolist()
    assert three == pytest.approx(9 * one, rel=1e-4)


def test_with_other_numbers_of_demonstrations_the_trained_layer_keeps_the_step_of_training() -> None:
    study = small_study()
    counts = study.demonstration_counts
    kept = counts.differences[f"P built for N = {CONFIG.demonstrations}"]
    rebuilt = counts.differences[DESCENT]
    assert float(kept[1]) == pytest.approx(float(rebuilt[1]))
    assert all(float(kept[i]) < 0.2 * float(rebuilt[i]) for i in (0, 2))


def test_gradient_descent_is_the_estimator_the_trained_layer_agrees_with() -> None:
    rows = {row.estimator: row for row in small_study().estimators}
    descent = rows.pop("gradient descent, one step")
    assert set(rows) == {"least squares", "ridge, λ = 0.5"}
    for other in rows.values():
        assert descent.squared_prediction_difference < 0.05 * other.squared_prediction_difference
        assert descent.implicit_weight_difference < 0.05 * other.implicit_weight_difference
    assert rows["least squares"].loss < 1e-8  # Five demonstrations determine three weights.


def test_the_same_seed_gives_the_same_layer_and_another_seed_another() -> None:
    first, again, other = (study_construction(SMALLEST, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.trained.w_k, again.trained.w_k)
    assert not torch.equal(first.trained.w_k, other.trained.w_k)
    assert first.training.steps == (0, 2, 3)


def test_pretrained_weights_stand_beside_the_others() -> None:
    sparsity = small_study().sparsity
    assert sparsity.pretrained is not None and sparsity.pretrained.model == "pocket"
    assert set(sparsity.pretrained.curves) == {"query", "key", "value"}
    first = sparsity.constructed["query"].absolute[0]
    assert float(first) == pytest.approx(1 - CONFIG.n_x / (CONFIG.n_x + CONFIG.n_y) ** 2)
    # The trained product falls into two groups, near the construction's ones and near its zeros.
    middle = min(range(len(THRESHOLDS)), key=lambda place: abs(THRESHOLDS[place] - 0.3))
    trained, constructed = sparsity.trained["key_query"], sparsity.constructed["key_query"]
    assert float(trained.absolute[middle]) == pytest.approx(float(constructed.absolute[middle]))
    assert study_construction(SMALLEST).sparsity.pretrained is None


def test_pretrained_curves_are_means_over_layers() -> None:
    layers = [("query", torch.tensor([[1e-3, 1.0]])), ("query", torch.tensor([[1e-3, 1e-3]]))]
    curves = pretrained_curves(iter(layers), "toy")
    assert curves.width == 2
    below = dict(zip(THRESHOLDS, curves.curves["query"].absolute.tolist(), strict=True))
    assert [below[10.0**exponent] for exponent in (-6, -2, 1)] == [0, 0.75, 1]
    with pytest.raises(UserError, match="1 entries of a query matrix of 'toy' are NaN or infinite"):
        pretrained_curves([("query", torch.tensor([[float("nan"), 1.0]]))], "toy")
    with pytest.raises(UserError, match="'toy' gave no attention weights"):
        pretrained_curves([], "toy")


def test_the_frame_holds_every_number_once() -> None:
    study = small_study()
    frame = study.to_pandas()
    assert list(frame.columns) == ["varied", "value", "learner", "measure", "number"]
    assert not frame.duplicated(["varied", "value", "learner", "measure"]).any()
    training = frame[(frame.varied == "training step") & (frame.measure == "sensitivity_cosine")]
    assert training.value.tolist() == list(study.training.steps)
    assert training.number.iloc[-1] == study.agreement.sensitivity_cosine
    assert len(frame[frame.varied == "estimator"]) == 3 * len(study.estimators)


def test_a_run_directory_holds_everything(tmp_path: Path) -> None:
    study = small_study()
    folder = study.save(tmp_path / "run")
    assert is_complete(folder)
    assert {entry.name for entry in folder.iterdir()} == {
        *("config.yaml", "manifest.json", "results.json", "table.txt", "construction.csv", "sparsity.csv"),
        *("agreement.png", "products.png", "sparsity.png", "weights.safetensors"),
    }
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert ConstructionConfig(**settings) == CONFIG
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert results["agreement"]["sensitivity_cosine"] == study.agreement.sensitivity_cosine
    weights = load_file(folder / "weights.safetensors")
    assert torch.equal(weights["trained.W_K"], study.trained.w_k)
    assert torch.equal(weights["constructed.P"], study.construction.projection)
    assert len(pandas.read_csv(folder / "construction.csv")) == len(study.to_pandas())
    with pytest.raises(UserError, match="holds a finished run"):
        study.save(tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"demonstrations": 0}, "demonstrations cannot be 0: .* divides by the number of demonstrations"),
        ({"demonstration_counts": "0,5"}, "demonstration_counts cannot be '0,5': .* divides by the number"),
        ({"n_z": 3}, "unknown key 'n_z'"),
        ({"n_x": 0}, "n_x cannot be 0"),
        ({"probe_queries": 3}, "intercept take 4 queries"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(tmp_path: Path, options, said) -> None:
    with pytest.raises(UserError, match=said):
        study_construction(SMALLEST, out=tmp_path / "run", **options)
    assert list(tmp_path.iterdir()) == []


def test_broken_pretrained_weights_are_refused_before_training(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"unknown": torch.zeros(2, 2)}, path)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        study_construction(SMALLEST, model=str(path), steps=10**7)


def test_training_that_diverges_says_so() -> None:
    with pytest.raises(UserError, match=r"diverged by step 2: lower learning_rate \(1e\+15\)"):
        study_construction(SMALLEST, learning_rate=1e15)


def test_options_may_be_written_as_on_the_command_line() -> None:
    config = ConstructionConfig(input_scales="0.5,2", demonstration_counts=7)  # type: ignore[arg-type]
    assert (config.input_scales, config.demonstration_counts) == ((0.5, 2.0), (7,))
    assert config.run_name == ("construction", "10x1-10demonstrations", "seed0")
