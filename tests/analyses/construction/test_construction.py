"""A layer trained for in-context regression becomes a step of gradient descent, and where it stops being one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from small_construction import CONFIG, SMALLEST, layer_of, small_study, swept

from iclprobe import ConstructionConfig, UserError, construction, load_study
from iclprobe.analyses.construction.sparsity import THRESHOLDS, pretrained_sparsity
from iclprobe.analyses.construction.sweeps import (
    COUNTS,
    DESCENT,
    INPUTS,
    INTERPOLATED,
    LINE,
    TRAINED,
    WEIGHTS,
    evaluation_tasks,
)
from iclprobe.analyses.construction.training import compare_layers, layer_predictions
from iclprobe.cli import main
from iclprobe.probes.linear_attention import LinearSelfAttention
from iclprobe.probes.linear_estimators import gradient_descent
from iclprobe.study.run_directory import is_complete


def test_the_trained_layer_is_close_to_gradient_descent() -> None:
    study = small_study()
    before, after = study.tables["training"].iloc[0], study.tables["training"].iloc[-1]
    constructed = study.tables["construction"].iloc[0]
    assert after.sensitivity_cosine > 0.99 > before.sensitivity_cosine
    assert after.prediction_difference < 0.1 * before.prediction_difference
    assert after.loss == pytest.approx(constructed.loss, rel=0.02)
    assert constructed.key_query_distance < 0.1 and constructed.projected_value_distance < 0.1


@pytest.mark.slow
def test_the_default_setting_reproduces_the_known_result() -> None:
    study = construction()
    trained, constructed = study.tables["training"].iloc[-1], study.tables["construction"].iloc[0]
    assert trained.prediction_difference < 0.02
    assert trained.sensitivity_cosine > 0.99
    assert constructed.key_query_distance < 0.05 and constructed.projected_value_distance < 0.05
    assert max(swept(study, LINE, INTERPOLATED)) < 1.01 * constructed.loss
    for varied in (INPUTS, WEIGHTS):
        assert swept(study, varied, TRAINED) == pytest.approx(swept(study, varied, DESCENT), rel=0.1)
    unscaled = study.config.input_scales.index(1.0)
    assert swept(study, INPUTS, DESCENT, "difference")[unscaled] == pytest.approx(
        trained.prediction_difference, rel=1e-4
    )


def test_the_construction_in_the_study_is_a_step_of_gradient_descent_with_the_best_step_size() -> None:
    study = small_study()
    step_size = study.tables["construction"]["step_size"].iloc[0]
    tasks = evaluation_tasks(CONFIG, "evaluation")
    weights = gradient_descent(tasks.x, tasks.y, step_size)
    expected = (weights @ tasks.query[..., None])[..., 0]
    torch.testing.assert_close(layer_predictions(layer_of(study, "constructed"), tasks), expected)
    # For x ~ U(-½, ½) the best eta of infinitely many tasks is E tr A / E tr A², A the mean of x xᵀ.
    n_x, n = CONFIG.n_x, CONFIG.demonstrations
    squares = (n_x / 80 + n_x * (n_x - 1) / 144) / n + (n - 1) / n * n_x / 144
    assert step_size == pytest.approx((n_x / 12) / squares, rel=0.1)


def test_sensitivities_are_compared_as_they_follow_from_the_matrices() -> None:
    study, tasks = small_study(), evaluation_tasks(CONFIG, "evaluation")
    tokens = torch.cat([tasks.x, tasks.y], -1)
    moments = tokens.mT @ tokens

    def slopes(layer: LinearSelfAttention) -> torch.Tensor:
        return -(layer.projected_value @ moments @ layer.key_query)[:, CONFIG.n_x :, : CONFIG.n_x].flatten(1)

    layers = layer_of(study, "trained"), layer_of(study, "constructed")
    trained, constructed = map(slopes, layers)
    found = compare_layers(*layers, tasks)
    cosine = torch.nn.functional.cosine_similarity(trained, constructed).mean()
    assert found.sensitivity_cosine == pytest.approx(float(cosine), abs=1e-5)
    assert found.sensitivity_difference == pytest.approx(
        float((trained - constructed).norm(dim=1).mean()), rel=1e-3
    )
    last = study.tables["training"].iloc[-1]
    assert vars(found) == {name: last[name] for name in vars(found)}


def test_interpolation_runs_from_the_trained_layer_to_gradient_descent() -> None:
    study = small_study()
    sweeps = study.tables["sweeps"]
    line = sweeps[(sweeps["varied"] == LINE) & (sweeps["learner"] == INTERPOLATED)]
    assert line["value"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    losses = line["loss"].tolist()
    assert losses[0] == pytest.approx(study.tables["training"]["loss"].iloc[-1], rel=1e-4)
    assert losses[-1] == pytest.approx(study.tables["construction"]["loss"].iloc[0], rel=1e-4)
    assert line["difference"].iloc[0] < 1e-4


def test_scaling_w_scales_every_loss_by_its_square_for_gradient_descent() -> None:
    one, three = swept(small_study(), WEIGHTS, DESCENT)
    assert three == pytest.approx(9 * one, rel=1e-4)


def test_with_other_numbers_of_demonstrations_the_trained_layer_keeps_the_step_of_training() -> None:
    study = small_study()
    kept = swept(study, COUNTS, f"P built for N = {CONFIG.demonstrations}", "difference")
    rebuilt = swept(study, COUNTS, DESCENT, "difference")
    assert kept[1] == pytest.approx(rebuilt[1])
    assert all(kept[i] < 0.2 * rebuilt[i] for i in (0, 2))


def test_gradient_descent_is_the_estimator_the_trained_layer_agrees_with() -> None:
    rows = small_study().tables["estimators"].set_index("estimator")
    assert list(rows.index) == ["gradient descent, one step", "least squares", "ridge, λ = 0.5"]
    descent, *others = (row for _, row in rows.iterrows())
    for other in others:
        assert descent.squared_prediction_difference < 0.05 * other.squared_prediction_difference
        assert descent.implicit_weight_difference < 0.05 * other.implicit_weight_difference
    assert others[0].loss < 1e-8  # Five demonstrations determine three weights.


def test_the_same_seed_gives_the_same_layer_and_another_seed_another() -> None:
    first, again, other = (construction(SMALLEST, seed=seed) for seed in (0, 0, 1))
    keys = [study.arrays["weights"]["trained.W_K"] for study in (first, again, other)]
    assert np.array_equal(keys[0], keys[1])
    assert not np.array_equal(keys[0], keys[2])
    assert first.tables["training"]["step"].tolist() == [0, 2, 3]


def test_pretrained_weights_stand_beside_the_others() -> None:
    study = small_study()
    sparsity, zeros = study.tables["sparsity"], study.tables["zeros"]
    assert set(zeros["model"]) == {"pocket"}
    pretrained = sparsity[sparsity["weights"] == "pretrained on text"]
    assert set(pretrained["matrix"]) == {"query", "key", "value"}
    assert set(pretrained["width"]) == set(zeros["width"]) == {112}
    below = sparsity.set_index(["weights", "matrix", "threshold"])["below"]
    first = below["constructed", "query", THRESHOLDS[0]]
    assert first == pytest.approx(1 - CONFIG.n_x / (CONFIG.n_x + CONFIG.n_y) ** 2)
    # The trained product falls into two groups, near the construction's ones and near its zeros.
    middle = min(THRESHOLDS, key=lambda threshold: abs(threshold - 0.3))
    trained, constructed = (below[kind, "key_query", middle] for kind in ("trained for ICL", "constructed"))
    assert trained == pytest.approx(constructed)
    without = construction(SMALLEST).tables
    assert set(without["sparsity"]["weights"]) == {"constructed", "trained for ICL"}
    assert without["zeros"].empty


def test_pretrained_curves_are_means_over_layers() -> None:
    layers = [("query", torch.tensor([[1e-3, 1.0]])), ("query", torch.tensor([[1e-3, 1e-3]]))]
    rows = pretrained_sparsity(iter(layers), "toy")
    assert {(row["width"], row["matrix"]) for row in rows} == {(2, "query")}
    below = {row["threshold"]: row["below"] for row in rows}
    assert [below[10.0**exponent] for exponent in (-6, -2, 1)] == [0, 0.75, 1]
    with pytest.raises(UserError, match="1 entries of a query matrix of 'toy' are NaN or infinite"):
        pretrained_sparsity([("query", torch.tensor([[float("nan"), 1.0]]))], "toy")
    with pytest.raises(UserError, match="'toy' gave no attention weights"):
        pretrained_sparsity([], "toy")


def test_the_tables_hold_every_number_once() -> None:
    tables = small_study().tables
    for name, key in {
        "training": ["step"],
        "sweeps": ["varied", "value", "learner"],
        "estimators": ["estimator"],
        "sparsity": ["weights", "matrix", "threshold"],
        "zeros": ["matrix"],
        "products": ["weights", "product", "row", "column"],
    }.items():
        assert not tables[name].duplicated(key).any(), name
    assert tables["training"]["step"].tolist() == [0, 100, 200, 300, 400]
    assert len(tables["sweeps"]) == 2 * 5 + 3 * 3 + 3 * 2 + 3 * 3
    assert len(tables["products"]) == 2 * 2 * 5 * 5


def test_what_the_table_says_is_found() -> None:
    study = small_study()
    found = {(each.name, *each.where.values()): each for each in study.findings}
    before, after = study.tables["training"].iloc[0], study.tables["training"].iloc[-1]
    cosine = found[("sensitivity cosine",)]
    assert (cosine.value, cosine.null) == (after.sensitivity_cosine, before.sensitivity_cosine)
    assert found[("loss of gradient descent",)].value == study.tables["construction"]["loss"].iloc[0]
    assert found[("highest loss between the weight sets",)].value == max(swept(study, LINE, INTERPOLATED))
    squares = study.tables["estimators"].set_index("estimator")["squared_prediction_difference"]
    assert found["squared prediction difference", "least squares"].value == squares["least squares"]
    assert found["entries below 0.01", "constructed", "query"].value == pytest.approx(88)
    assert {each.kind for each in study.findings} == {"result"}


def test_a_layer_that_did_not_arrive_is_warned_of() -> None:
    study = construction(SMALLEST)
    ratio = study.tables["training"]["loss"].iloc[-1] / study.tables["construction"]["loss"].iloc[0]
    warning = study.findings[-1]
    assert (warning.kind, warning.value) == ("warning", ratio) and ratio > 1.05
    assert f"warning: the trained layer's loss is {ratio:.2f} times gradient descent's" in study.table()
    assert "warning: the trained layer&#x27;s loss" in study._repr_html_()


def test_a_run_directory_holds_everything(tmp_path: Path) -> None:
    study = small_study()
    folder = study.save(tmp_path / "run")
    assert is_complete(folder)
    tables = ("training", "construction", "sweeps", "estimators", "sparsity", "zeros", "products")
    assert {entry.name for entry in folder.iterdir()} == {
        *("config.yaml", "manifest.json", "table.txt", "page.html", "tables", "arrays"),
        *(f"{name}.csv" for name in (*tables, "facts", "findings")),
        *("agreement.png", "products.png", "sparsity.png"),
    }
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert settings.pop("analysis") == "construction"
    assert ConstructionConfig(**settings) == CONFIG
    again = load_study(folder)
    assert again.table() == study.table() and again.to_json() == study.to_json()
    for group in ("weights", "products"):
        assert set(again.arrays[group]) == set(study.arrays[group])
        for name, matrix in study.arrays[group].items():
            assert np.array_equal(again.arrays[group][name], matrix), name
    with pytest.raises(UserError, match="holds a finished run"):
        study.save(tmp_path / "run")


def test_products_are_those_of_the_weights() -> None:
    study = small_study()
    entries = (
        study.tables["products"].set_index(["weights", "product", "row", "column"])["entry"].sort_index()
    )
    for name in ("trained", "constructed"):
        layer = layer_of(study, name)
        scale = layer.key_query.diagonal()[: CONFIG.n_x].mean()
        for product, matrix in (
            ("key_query", layer.w_k.T @ layer.w_q / scale),
            ("projected_value", layer.projection @ layer.w_v * scale),
        ):
            shown = torch.tensor(entries[name, product].unstack().to_numpy())
            torch.testing.assert_close(shown, matrix.double())
            kept = torch.tensor(study.arrays["products"][f"{name}.{product}"])
            assert torch.equal(kept.double(), shown)


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
        construction(SMALLEST, out=tmp_path / "run", **options)
    assert list(tmp_path.iterdir()) == []


def test_broken_pretrained_weights_are_refused_before_training(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"unknown": torch.zeros(2, 2)}, path)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        construction(SMALLEST, model=str(path), steps=10**7)


def test_training_that_diverges_says_so() -> None:
    with pytest.raises(UserError, match=r"diverged by step 2: lower learning_rate \(1e\+15\)"):
        construction(SMALLEST, learning_rate=1e15)


def test_inputs_too_small_for_any_step_are_refused() -> None:
    with pytest.raises(UserError, match=r"no best step size: raise input_range \(1e-15\)"):
        construction(SMALLEST, input_range=1e-15)


def test_options_may_be_written_as_on_the_command_line() -> None:
    config = ConstructionConfig(input_scales="0.5,2", demonstration_counts=7, model="none")  # type: ignore[arg-type]
    assert (config.input_scales, config.demonstration_counts, config.model) == ((0.5, 2.0), (7,), None)
    assert config.run_name == ("construction", "10x1-10demonstrations", "seed0")


def test_the_command_runs_without_a_pretrained_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    small = ["--n-x", "2", "--steps", "2", "--batch-size", "4", "--evaluation-tasks", "10", "--lr", "0.01"]
    assert main(["construction", *small, "--model", "none", "--out", str(out)]) == 0
    study = load_study(out)
    assert (study.config.model, study.config.learning_rate) == (None, 0.01)
    assert capsys.readouterr().out == study.table() + "\n"
    assert main(["construction", *small, "--no-model"]) == 2
    assert "--no-model is now --model none" in capsys.readouterr().err
