"""Controls: each is the comparison with one thing changed, and nothing runs twice that no control changes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from model_snapshot import assert_as_it_was, snapshot
from pandas.testing import assert_frame_equal
from tiny_checkpoint import TEMPLATE

import iclprobe
from iclprobe import Capture, ControlsConfig, LanguageModel, Task, Template, UserError, load_study
from iclprobe.analyses.cell import Cell, prepare_cell
from iclprobe.analyses.controls.altered_cells import (
    with_other_task,
    with_permuted_labels,
    with_shuffled_prefix,
)
from iclprobe.analyses.controls.config import CONTROLS, ControlName
from iclprobe.analyses.controls.controls import Controls
from iclprobe.analyses.learning_rates import learning_rate_for
from iclprobe.models.random_update import random_update
from iclprobe.models.recipe import preset
from iclprobe.models.untrained import untrained_copy
from iclprobe.seeds import derive_seed
from iclprobe.study.columns import Frame
from iclprobe.study.run_directory import is_complete

SETTINGS: dict[str, Any] = {
    "shots": 4,
    "learning_rate": 0.5,
    "batch_size": 4,
    "null_draws": 2,
    "resamples": 20,
}


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LanguageModel:
    return iclprobe.load_model(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def task(records: Path) -> Task:
    return iclprobe.load_task("tone", template=TEMPLATE, label_words=("bad", "good"), data=str(records))


@pytest.fixture(scope="module")
def other(task: Task) -> Task:
    return replace(task, name="other", template=Template("other", "the {text} is", ("cake", "road"), " goat"))


@pytest.fixture(scope="module")
def study(model: LanguageModel, task: Task, other: Task) -> Controls:
    return iclprobe.controls(model=model, task=task, other_task=other, seeds=(0, 1), **SETTINGS)


@pytest.fixture(scope="module")
def cell(model: LanguageModel, task: Task) -> Cell:
    return prepare_cell(iclprobe.SubjectConfig(shots=4), model, task, 0)


def assert_same(one: Mapping[str, Frame], other: Mapping[str, Frame], seed: int) -> None:
    """Check that a draw has every number of another, bit by bit."""
    for name in ("measures", "similarities", "heads", "null_draws", "label_logprobs", "answers"):
        rows = [tables[name][tables[name]["seed"] == seed].reset_index(drop=True) for tables in (one, other)]
        assert len(rows[0])
        assert_frame_equal(*rows, check_exact=True)


def alone(model: LanguageModel, task: Task, seed: int = 0) -> Mapping[str, Frame]:
    """Return the tables of a comparison of another model or on other records."""
    return iclprobe.controls(model=model, task=task, seeds=seed, controls="none", **SETTINGS)["none"]


def test_every_control_is_there_and_none_is_the_comparison_itself(
    study: Controls, model: LanguageModel, task: Task
) -> None:
    controls = list(study.tables["controls"]["control"])
    assert controls == list(get_args(ControlName)) == list(CONTROLS)
    assert list(study.to_pandas()["control"].unique()) == controls
    compared: Frame = iclprobe.compare(model=model, task=task, seeds=(0, 1), **SETTINGS).to_pandas()
    own = study["none"]["measures"]
    assert_frame_equal(own, compared[list(own.columns)], check_exact=True, check_dtype=False)


def test_permuted_labels_are_a_comparison_on_records_with_those_labels(
    study: Controls, model: LanguageModel, task: Task, cell: Cell
) -> None:
    permuted = with_permuted_labels(iclprobe.SubjectConfig(shots=4), model, task, cell)
    labels = dict(zip(cell.demonstrations, permuted.demonstrations, strict=True))
    relabelled = replace(task, train=[labels.get(record, record) for record in task.train])
    assert_same(study["permuted_labels"], alone(model, relabelled), 0)
    changed = sum(one.label != two.label for one, two in labels.items())
    assert study.tables["labels_changed"].iloc[0].to_dict() == {
        "seed": 0,
        "labels_changed": changed,
        "demonstrations": 4,
    }


def test_untrained_is_a_comparison_of_the_untrained_copy(
    study: Controls, model: LanguageModel, task: Task
) -> None:
    for seed in (0, 1):
        assert_same(study["untrained"], alone(untrained_copy(model, seed), task, seed), seed)


def answered(tables: Mapping[str, Frame], setting: str, seed: int = 0) -> torch.Tensor:
    """Return the log-probability of each label after each query of a draw, ``[N, C]``."""
    rows = tables["label_logprobs"]
    rows = rows[(rows["seed"] == seed) & (rows["setting"] == setting)]
    return torch.tensor(rows["logprob"].to_numpy()).reshape(rows["query"].nunique(), -1)


def scored(captured: Capture) -> torch.Tensor:
    """Return the same of a capture."""
    assert captured.label_logprobs is not None
    return captured.label_logprobs.double()


@pytest.mark.parametrize("control", ["shuffled_prefix", "other_task"])
def test_another_context_changes_icl_alone(
    study: Controls, model: LanguageModel, other: Task, cell: Cell, control: str
) -> None:
    none, altered = study["none"], study[control]
    for setting in ("zsl", "ft"):
        assert torch.equal(answered(altered, setting), answered(none, setting))
    context = (
        with_shuffled_prefix(cell) if control == "shuffled_prefix" else with_other_task(cell, model, other)
    )
    captured = iclprobe.capture(model, context.prompts.icl, share_prefix=False, batch_size=1)
    assert not torch.allclose(scored(captured), answered(none, "icl"), atol=1e-2)
    assert torch.allclose(scored(captured), answered(altered, "icl"), atol=1e-4)


def test_a_random_update_changes_finetuning_alone(study: Controls, model: LanguageModel, cell: Cell) -> None:
    none, drawn = study["none"], study["random_update"]
    for setting in ("zsl", "icl"):
        assert torch.equal(answered(drawn, setting), answered(none, setting))
    seed = derive_seed("finetune", 0)
    learned = iclprobe.finetune(model, cell.prompts.training, preset("dai"), learning_rate=0.5, seed=seed)
    delta = random_update(model, learned.delta, derive_seed("random update", 0))
    with delta.applied(model):
        captured = iclprobe.capture(model, cell.prompts.zero_shot, batch_size=4)
    assert torch.equal(scored(captured), answered(drawn, "ft"))
    # W_K and W_V moved as far as in finetuning, matrix by matrix.
    moved, wanted = (tables["finetuning_drift"]["relative_frobenius"] for tables in (drawn, none))
    assert (wanted > 0).any()
    assert moved.tolist() == pytest.approx(wanted.tolist(), rel=1e-4)


def test_the_model_is_left_as_it_was(checkpoint: Path, task: Task, other: Task) -> None:
    model = iclprobe.load_model(checkpoint, device="cpu")
    before = snapshot(model.module)
    iclprobe.controls(model=model, task=task, other_task=other, limit=4, **SETTINGS)
    assert_as_it_was(model.module, before)


def test_what_no_control_changes_runs_once(model: LanguageModel, task: Task, other: Task, cell: Cell) -> None:
    seen: Counter[tuple[Any, ...]] = Counter()

    def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        cached = kwargs.get("past_key_values") is not None
        seen[tuple(map(tuple, kwargs["input_ids"].tolist())), cached] += 1

    handle = model.module.base_model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        controls = tuple(name for name in CONTROLS if name != "untrained")
        iclprobe.controls(model=model, task=task, other_task=other, controls=controls, **SETTINGS)
    finally:
        handle.remove()
    assert seen[(cell.prompts.icl.prefix_ids,), False] == 1
    # Zero-shot, and finetuned on the demonstrations, on permuted labels, and at random.
    query = cell.prompts.zero_shot.full_ids(0)
    batches = {key: times for key, times in seen.items() if len(key[0]) == 4 and not key[1]}
    assert [
        times for (rows, _), times in batches.items() if any(row[: len(query)] == query for row in rows)
    ] == [4]


def test_the_learning_rate_is_chosen_on_the_comparison_itself(
    model: LanguageModel, task: Task, cell: Cell
) -> None:
    settings = {**SETTINGS, "learning_rate": "auto", "held_out": 8, "limit": 4}
    study = iclprobe.controls(model=model, task=task, controls=("permuted_labels", "untrained"), **settings)
    rate, choice = learning_rate_for(ControlsConfig(**settings), preset("dai"), model, task, cell)
    assert choice is not None
    for control in ("permuted_labels", "untrained"):
        search, (run,) = study[control]["rate_search"], study[control]["finetuning"].to_dict("records")
        tried = search[~search["held_out_nll"].isna()].set_index("learning_rate")["held_out_nll"]
        assert tried.to_dict() == {
            rate: nll for rate, nll in zip(choice.candidates, choice.held_out_nll, strict=True) if nll == nll
        }
        assert search.loc[search["outcome"] == "chosen", "learning_rate"].tolist() == [rate]
        assert run["rate_searched"] and run["learning_rate"] == rate


def test_a_row_for_each_control_and_measure(study: Controls) -> None:
    frame = study.to_pandas()
    assert list(frame.columns) == ["control", "measure", "unit", "mean", "std", "draws"]
    assert not frame.duplicated(["control", "measure"]).any()
    row = frame[(frame.control == "random_update") & (frame.measure == "SimAM after finetuning")]
    similarities = study["random_update"]["similarities"]
    by_layer = similarities.groupby(["seed", "layer"])["SimAM after finetuning"].mean()
    assert row["mean"].item() == pytest.approx(by_layer.groupby("seed").mean().mean())
    assert row["draws"].item() == 2


def test_what_is_found_says_under_which_control(study: Controls) -> None:
    means = study.to_pandas().set_index(["control", "measure"])["mean"]
    results = [finding for finding in study.findings if finding.kind == "result"]
    assert len(results) == len(means)
    for finding in results:
        assert finding.sentence.startswith(f"control {finding.where['control']}, ")
        assert finding.value == pytest.approx(means[finding.where["control"], finding.name], nan_ok=True)
    alarms = [finding for finding in study.findings if finding.kind == "alarm"]
    assert alarms
    assert all(alarm.sentence.startswith(f"control {alarm.where['control']}: ") for alarm in alarms)
    # Counts are whole numbers.
    assert not any(re.search(r"\d\.0\b", alarm.sentence.partition("learning rate")[0]) for alarm in alarms)
    assert any(re.search(r"\d of \d+ right", alarm.sentence) for alarm in alarms)


def test_the_table_says_what_each_control_is(study: Controls) -> None:
    table = study.table()
    flat = " ".join(table.split())
    assert "other task the context holds as many tokens of another task's demonstrations (other)" in flat
    assert study.config.other_task == "other"
    counts = ", ".join(map(str, study.tables["labels_changed"]["labels_changed"]))
    assert f"({counts} of 4 have another)" in flat
    lines = table.splitlines()
    block = lines.index(next(line for line in lines if line.startswith("SimAOU (cosine)")))
    assert lines[block + 2].startswith("untrained")
    assert f"{mean(study, 'untrained', 'SimAOU'):.3f} ±" in lines[block + 2]


def mean(study: Controls, control: str, measure: str) -> float:
    """Return a number under a control, mean over draws."""
    return float(study[control]["over_draws"].set_index("measure").loc[measure, "mean"])


def test_labels_that_could_not_change_are_said(model: LanguageModel, task: Task) -> None:
    alike = replace(task, train=[record for record in task.train if record.label == 1])
    study = iclprobe.controls(
        model=model, task=alike, controls=("none", "permuted_labels"), limit=4, **SETTINGS
    )
    assert study.tables["labels_changed"]["labels_changed"].tolist() == [0]
    assert "the demonstrations of seed 0 all have one label" in " ".join(study.table().split())
    (warning,) = (finding for finding in study.findings if finding.kind == "warning")
    assert warning.where == {"control": "permuted_labels", "seed": 0}


def test_the_figure_shows_every_control_in_every_panel(study: Controls) -> None:
    figure = study.plot()
    accuracy, outputs, scores = figure.axes
    assert [tick.get_text() for tick in accuracy.get_yticklabels()] == [
        name.replace("_", " ") for name in CONTROLS
    ]
    handles: Any
    handles, labels = outputs.get_legend_handles_labels()
    measured = dict(zip(labels, handles, strict=True))["SimAOU"][0]
    assert measured.get_xdata().tolist() == pytest.approx([mean(study, name, "SimAOU") for name in CONTROLS])
    assert all(axes.get_xlabel() for axes in (accuracy, outputs, scores))


def test_a_run_directory_is_complete_and_runs_again(checkpoint: Path, records: Path, tmp_path: Path) -> None:
    first = iclprobe.controls(
        model=str(checkpoint),
        task="tone",
        template=TEMPLATE,
        label_words=("bad", "good"),
        data=str(records),
        controls="none,random_update",
        limit=4,
        device="cpu",
        out=tmp_path / "run",
        **SETTINGS,
    )
    assert is_complete(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        *("config.yaml", "manifest.json", "table.txt", "page.html", "tables", "controls.png"),
        *(f"{name}.csv" for name in (*first.tables, "findings")),
    }
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config.pop("analysis") == "controls"
    again = iclprobe.controls(ControlsConfig(**config))
    loaded = load_study(tmp_path / "run")
    assert isinstance(loaded, Controls)
    for study in (again, loaded):
        assert study.table() == first.table()
        for name, frame in first.tables.items():
            assert_frame_equal(study.tables[name], frame, check_exact=True)
    assert_frame_equal(loaded["none"]["measures"], first["none"]["measures"])


def test_every_controls_whole_prompt_is_kept(study: Controls, cell: Cell) -> None:
    whole = {
        control: [
            token
            for ids in tables["prompts"].loc[tables["prompts"]["setting"] == "icl", "ids"]
            for token in json.loads(ids)
        ]
        for control, tables in ((name, study[name]) for name in CONTROLS)
    }
    assert whole["none"] == list(cell.prompts.icl.full_ids(0)) == whole["random_update"]
    shuffled = study["shuffled_prefix"]["prompts"]
    assert "context" in list(shuffled["part"])
    assert sorted(whole["shuffled_prefix"]) == sorted(whole["none"]) != whole["shuffled_prefix"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"controls": ("placebo",)}, "placebo"),
        ({"controls": ("none", "none")}, "twice"),
        ({"controls": ()}, "controls"),
        ({"other_task": "tone"}, "'tone' itself"),
        ({"other_task": "no-such-task"}, "no-such-task"),
        (
            {"controls": "untrained", "recipe": "shen_adam", "learning_rate": 1e18},
            "control 'untrained', seed 0: .*diverged",
        ),
        ({"recipe": "no-such-recipe"}, "no-such-recipe"),
        ({"shots": 25}, "25"),
        ({"finetuned": "somewhere"}, "finetuned"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    model: LanguageModel, task: Task, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        iclprobe.controls(model=model, task=task, **{**SETTINGS, **options})


def test_a_control_that_was_not_asked_for_is_named(study: Controls) -> None:
    with pytest.raises(KeyError, match="random_update"):
        study["placebo"]
