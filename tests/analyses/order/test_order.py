"""Order sensitivity against a literal loop; what must vanish vanishes, what diverges is kept and said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import arms_oracle
import numpy as np
import pytest
import tiny_checkpoint
import torch
from arms_oracle import rows_of

import iclprobe
from iclprobe import Study, load_study
from iclprobe.analyses.order.config import OrderConfig
from iclprobe.analyses.order.registration import order
from iclprobe.cli import main
from iclprobe.errors import UserError
from iclprobe.hooks.repeated_queries import RepeatedQueries
from iclprobe.models.loading import load_model
from iclprobe.settings import make_config
from iclprobe.study.run_directory import is_complete
from iclprobe.study.series import series_of
from iclprobe.tasks.orders import distinct_orders

SHORT = {"epochs": 4, "evaluation_epochs": 2}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four layers, so that one of them lies in the middle."""
    return tiny_checkpoint.write_checkpoint(tmp_path_factory.mktemp("tiny") / "four", layers=4)


def run(checkpoint: Path, records: Path, **options: Any) -> Study:
    given = {"shots": 4, "seeds": (0,), "limit": 6, "orders": 5, "learning_rates": 0.05, **SHORT}
    return order(**{**arms_oracle.settings(checkpoint, records), **given, **options})


@pytest.mark.parametrize("kind", [arms_oracle.tiny_task, arms_oracle.single_token_task])
def test_the_study_is_a_literal_loop_over_orders(checkpoint: Path, records: Path, kind: Any) -> None:
    task = kind(records)
    study = run(checkpoint, records, task=task, arms=("shen_sgd", "shen_deep"), batch_sizes=(2,))
    model = load_model(str(checkpoint), device="cpu")
    orders = distinct_orders(4, 5, 0)
    sets = [arms_oracle.prompts_in_order(model, task, 4, 0, places, 6) for places in orders]

    def check(row: Any, runs: list[arms_oracle.Literal]) -> None:
        values = np.array([one.probabilities for one in runs]).std(axis=0).sum(axis=1)
        assert row.sensitivity == pytest.approx(values.mean(), rel=1e-5, abs=1e-5)
        assert row.sensitivity_std == pytest.approx(values.std(), rel=1e-5, abs=1e-5)
        assert row.accuracy_labels == pytest.approx(np.mean([one.right_labels for one in runs]))
        assert row.accuracy_vocabulary == pytest.approx(np.mean([one.right_vocabulary for one in runs]))

    (icl,) = rows_of(study, "ICL")
    check(icl, [arms_oracle.literal(model, prompts.icl) for prompts in sets])
    assert (icl.orders, icl.queries, icl.demonstrations, icl.epoch) == (5, 6, 4, None)
    cases = {
        "SGD, batch 2": {"preset": "shen_sgd", "batch_size": 2, **SHORT},
        "GD, deep layer": {"preset": "shen_deep", "parameters": "attn_v@3", **SHORT},
    }
    for arm, recipe in cases.items():
        runs = [arms_oracle.literal_finetuned(model, prompts, recipe, 0.05, 0) for prompts in sets]
        found = rows_of(study, arm)
        assert [row.epoch for row in found] == [2, 4]
        for row in found:
            assert row.epoch is not None
            check(row, [one[row.epoch] for one in runs])
    assert {row.layer for row in rows_of(study, "GD, deep layer")} == {3}


def test_gradient_descent_on_all_demonstrations_knows_no_order_and_batches_of_one_do(
    checkpoint: Path, records: Path
) -> None:
    study = run(checkpoint, records, arms=("shen", "shen_sgd", "shen_middle"), batch_sizes=(1, 4))
    (icl,) = rows_of(study, "ICL")
    assert icl.sensitivity > 0.01
    for arm in ("GD", "GD, middle layer", "SGD, batch 4"):
        assert all(row.sensitivity < 1e-5 for row in rows_of(study, arm)), arm
    assert all(row.sensitivity > 1e-3 for row in rows_of(study, "SGD, batch 1"))


def test_few_demonstrations_come_in_all_their_orders(checkpoint: Path, records: Path) -> None:
    study = run(checkpoint, records, shots=3, orders=10, arms="shen_deep")
    assert {row.orders for row in rows_of(study)} == {6}
    with pytest.raises(UserError, match="at least 2 shots"):
        run(checkpoint, records, shots=1, arms="shen_deep")


def test_layers_that_nothing_trains_run_once_and_the_numbers_stay(
    checkpoint: Path, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(checkpoint), device="cpu")
    calls: list[int] = []
    lower: Any = model.module.model.layers[0].self_attn
    handle = lower.register_forward_hook(lambda *_: calls.append(1))
    task = arms_oracle.single_token_task(records)
    options = {"model": model, "task": task, "arms": "shen_deep", "learning_rates": 0.5, "seeds": (0, 1)}
    kept = run(checkpoint, records, **options)
    with_reuse = len(calls)
    original = RepeatedQueries.__init__

    def forget(self: Any, *args: Any, first_trained_layer: int = 0, **kwargs: Any) -> None:
        original(self, *args, first_trained_layer=0, **kwargs)

    calls.clear()
    monkeypatch.setattr(RepeatedQueries, "__init__", forget)
    plain = run(checkpoint, records, **options)
    handle.remove()
    # Two draws in five orders, evaluated twice each: twenty times over the queries, or once and a look at it.
    assert len(calls) - with_reuse == 18
    for one, other in zip(rows_of(kept), rows_of(plain), strict=True):
        # Both are rounding for the arm, whose sensitivity is zero.
        assert one.sensitivity == pytest.approx(other.sensitivity, abs=1e-6)
        assert one.accuracy_labels == other.accuracy_labels


def test_a_rate_that_diverges_is_kept_undefined_and_the_others_go_on(checkpoint: Path, records: Path) -> None:
    rates = {"SGD, batch 1": (0.05, 1e8), "GD": "0.05"}
    study = run(checkpoint, records, arms=("shen", "shen_sgd"), batch_sizes=(1,), learning_rates=rates)
    lost = [row for row in rows_of(study, "SGD, batch 1") if row.learning_rate == 1e8]
    assert [row.epoch for row in lost] == [2, 4]
    assert all(math.isnan(row.sensitivity) and math.isnan(row.accuracy_labels) for row in lost)
    well = [row for row in rows_of(study, "SGD, batch 1") if row.learning_rate == 0.05]
    assert all(row.sensitivity > 0 for row in well)
    assert "diverged and left out: SGD, batch 1 at 1e+08 (1 of 1 runs)" in study.table()
    with pytest.raises(UserError, match=r"diverged with every learning rate from 1e\+08 to 1e\+09"):
        run(checkpoint, records, arms="shen_sgd", learning_rates="1e8,1e9")


def test_auto_chooses_one_rate_a_draw_for_all_orders_and_layers(checkpoint: Path, records: Path) -> None:
    study = run(
        checkpoint,
        records,
        arms={"values": {"preset": "shen_deep", "learning_rate": "auto"}},
        learning_rates=None,
        candidates=(0.1, 0.01),
        held_out=8,
        seeds=(0, 1),
    )
    rates = {row.seed: row.learning_rate for row in rows_of(study, "values")}
    assert set(rates) == {0, 1} and set(rates.values()) <= {0.01, 0.1}
    assert all(row.chosen for row in rows_of(study, "values"))
    (series,) = [entry for entry in series_of(study.tables["rows"], "sensitivity") if entry.arm == "values"]
    assert series.values.shape == (2, 2) and series.rate_name.startswith("auto (")


def test_options_of_the_sensitivity_reach_it(checkpoint: Path, records: Path) -> None:
    base = {"arms": "shen_deep", "orders": 3}
    plain, sample = run(checkpoint, records, **base), run(checkpoint, records, **base, ddof=1)
    few = run(checkpoint, records, **base, top_k=2, aggregate="sum_var")
    first = {
        name: rows_of(study)[0].sensitivity
        for name, study in (("plain", plain), ("sample", sample), ("few", few))
    }
    assert first["sample"] == pytest.approx(first["plain"] * math.sqrt(3 / 2))
    assert 0 < first["few"] < first["plain"]
    told = " ".join(few.table().split())
    assert "variance" in told and "2 most probable tokens" in told


def test_several_models_run_one_after_another_and_the_model_is_left_alone(
    checkpoint: Path, records: Path, tmp_path: Path
) -> None:
    other = str(tiny_checkpoint.write_checkpoint(tmp_path / "other", seed=5, layers=4))
    study = run(checkpoint, records, models=(str(checkpoint), other), arms="shen_deep", out=tmp_path / "run")
    assert [row.model for row in rows_of(study, "ICL")] == [str(checkpoint), other]
    assert len(study.provenance["models"]) == 2 and is_complete(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        *(
            "config.yaml",
            "manifest.json",
            "table.txt",
            "page.html",
            "tables",
            "sensitivity.png",
            "epochs.png",
        ),
        *(f"{name}.csv" for name in ("rows", "prompts", "facts", "findings")),
    }
    loaded = load_study(tmp_path / "run")
    assert loaded.tables["rows"].equals(study.tables["rows"]) and loaded.table() == study.table()
    assert loaded.config.models == (str(checkpoint), other) and loaded.config.model == str(checkpoint)
    model = load_model(str(checkpoint), device="cpu")
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    run(checkpoint, records, model=model, arms="shen_sgd")
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    with pytest.raises(UserError, match="not both"):
        run(checkpoint, records, model=model, models=("pocket",), arms="shen_sgd")


def test_demonstrations_that_do_not_fit_are_left_out_of_every_order(tmp_path: Path, records: Path) -> None:
    folder = tiny_checkpoint.write_checkpoint(tmp_path / "short", layers=4)
    model = load_model(str(folder), device="cpu")
    model.module.config.max_position_embeddings = 80
    study = run(folder, records, model=model, shots=8, arms="shen_deep")
    used = rows_of(study)[0].demonstrations
    assert 2 <= used < 8 and f"{used} of 8 shots (the others do not fit)" in study.table()


def test_the_defaults_are_the_papers_arms_and_public() -> None:
    assert iclprobe.order is order and iclprobe.OrderConfig is OrderConfig
    config = OrderConfig()
    names = list(config.resolved_recipes())
    assert names == [
        "GD",
        "SGD, batch 1",
        "SGD, batch 2",
        "SGD, batch 4",
        "Adam",
        "GD, deep layer",
        "GD, middle layer",
    ]
    long = make_config(OrderConfig, {"arms": "shen,shen_adam"}, "test").resolved_recipes()["Adam"]
    assert (long.epochs, long.evaluation_epochs) == (200, 20)


def test_every_number_of_the_table_is_a_finding(checkpoint: Path, records: Path) -> None:
    study = run(
        checkpoint, records, arms="shen_sgd", batch_sizes=(1,), seeds=(0, 1), learning_rates=(0.05, 1e8)
    )
    found = {
        (one.name, one.where["arm"], one.where.get("learning rate")): one
        for one in study.findings
        if one.where
    }
    (icl,) = (one for (name, arm, _), one in found.items() if (name, arm) == ("Sen", "ICL"))
    values = [row.sensitivity for row in rows_of(study, "ICL")]
    assert icl.value == np.mean(values) and icl.high == np.mean(values) + np.std(values)
    assert icl.basis == "one standard deviation over 2 draws and drawn layers" and icl.null == 0
    accuracy = found["accuracy", "SGD, batch 1", "0.05"]
    last = [row.accuracy_labels for row in rows_of(study, "SGD, batch 1", learning_rate=0.05, epoch=4)]
    assert accuracy.value == 100 * np.mean(last) and accuracy.unit == "%"
    most = [
        max(row.sensitivity for row in rows_of(study, "SGD, batch 1", learning_rate=0.05, seed=seed))
        for seed in (0, 1)
    ]
    assert found["most Sen over epochs", "SGD, batch 1", "0.05"].value == np.mean(most)
    assert math.isnan(found["Sen", "SGD, batch 1", "1e+08"].value)
    (warning,) = (one for one in study.findings if one.kind == "warning")
    assert warning.sentence == "diverged and left out: SGD, batch 1 at 1e+08 (2 of 2 runs)"


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (["--arms", "nothing"], "no recipe 'nothing'"),
        (["--arms", "shen,shen"], "two arms are called 'GD'"),
        (["--lr", "fast"], "--lr cannot"),
        (["--lr", "-1"], "positive"),
        (["--lr", "Adam=0.1", "--arms", "shen"], "'Adam'"),
        (["--lr", "Adam=0.1=2"], "--lr"),
        (["--shots", "400"], "400 demonstrations"),
        (["--orders", "1"], "orders"),
        (["--ddof", "2"], "--ddof"),
        (["--every", "1"], "--every is now --evaluation-epochs"),
        (["--aggregate", "median"], "aggregate"),
        (["--lr", "1e8", "--arms", "shen_sgd", "--batch-sizes", "1"], "diverged"),
        (["--config", "{bad}"], "layer"),
        (["--config", "{nothing}"], "select nothing"),
    ],
)
def test_mistakes_are_one_sentence(
    checkpoint: Path,
    records: Path,
    tmp_path: Path,
    extra: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.yaml").write_text("arms: {far: {preset: shen, parameters: attn_v@9}}\n")
    (tmp_path / "nothing.yaml").write_text("arms: {none: {preset: shen, parameters: nowhere}}\n")
    places = {"bad": str(tmp_path / "bad.yaml"), "nothing": str(tmp_path / "nothing.yaml")}
    arguments = ["order", "--model", str(checkpoint), "--task", "tone", "--data", str(records)]
    arguments += ["--template", tiny_checkpoint.TEMPLATE, "--label-words", "bad,good", "--device", "cpu"]
    arguments += ["--shots", "3", "--seeds", "0", "--limit", "3", "--epochs", "1"]
    out = tmp_path / "run"
    assert main([*arguments, *(part.format(**places) for part in extra), "--out", str(out)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("iclprobe: ") and named in said and not out.exists()


def test_the_command_prints_the_table_and_its_config_runs_again(
    checkpoint: Path, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["order", "--model", str(checkpoint), "--task", "tone", "--data", str(records)]
    arguments += ["--template", tiny_checkpoint.TEMPLATE, "--label-words", "bad,good", "--device", "cpu"]
    arguments += ["--shots", "3", "--seeds", "0,1", "--limit", "4", "--orders", "3", "--epochs", "2"]
    arguments += [
        "--evaluation-epochs",
        "1",
        "--arms",
        "shen,shen_sgd",
        "--batch-sizes",
        "1",
        "--lr",
        "GD=0.1;SGD=0.01,0.1",
    ]
    assert main([*arguments, "--out", str(tmp_path / "one")]) == 0
    printed = capsys.readouterr().out
    assert "ICL" in printed and "SGD, batch 1" in printed and "Sen" in printed
    config = str(tmp_path / "one" / "config.yaml")
    assert main(["order", "--config", config, "--out", str(tmp_path / "two")]) == 0
    assert capsys.readouterr().out == printed
