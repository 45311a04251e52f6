"""Controls: each is the comparison with one thing changed, and nothing runs twice that no control changes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from model_snapshot import assert_as_it_was, snapshot
from tiny_checkpoint import TEMPLATE

import iclprobe
from iclprobe import ControlsStudy, LanguageModel, Task, Template, UserError
from iclprobe.analyses.cell import Cell, prepare_cell
from iclprobe.analyses.comparison.draw import Draw
from iclprobe.analyses.controls.altered_cells import (
    with_other_task,
    with_permuted_labels,
    with_shuffled_prefix,
)
from iclprobe.analyses.controls.config import CONTROLS, ControlName
from iclprobe.models.random_update import random_update
from iclprobe.models.untrained import untrained_copy
from iclprobe.seeds import derive_seed
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
def study(model: LanguageModel, task: Task, other: Task) -> ControlsStudy:
    return iclprobe.controls(model=model, task=task, other_task=other, seeds=(0, 1), **SETTINGS)


@pytest.fixture(scope="module")
def cell(model: LanguageModel, task: Task) -> Cell:
    return prepare_cell(iclprobe.SubjectConfig(shots=4), model, task, 0)


def assert_same(draw: Draw, alone: Draw) -> None:
    assert torch.equal(draw.sim_aou.values, alone.sim_aou.values)
    assert torch.equal(draw.sim_am_before.values, alone.sim_am_before.values)
    assert torch.equal(draw.sim_am_after.values, alone.sim_am_after.values)
    for kind, null in draw.nulls.items():
        assert torch.equal(null.draws, alone.nulls[kind].draws)
    for setting, answers in draw.answers.items():
        assert torch.equal(answers.label_logprobs, alone.answers[setting].label_logprobs)


def test_every_control_is_there_and_none_is_the_comparison_itself(
    study: ControlsStudy, model: LanguageModel, task: Task
) -> None:
    assert list(study.draws) == list(get_args(ControlName)) == list(CONTROLS)
    alone = iclprobe.compare(model=model, task=task, seeds=(0, 1), **SETTINGS)
    for draw, expected in zip(study.draws["none"], alone.draws, strict=True):
        assert_same(draw, expected)
    assert study["none"].table() == alone.table()


def test_permuted_labels_are_a_comparison_on_records_with_those_labels(
    study: ControlsStudy, model: LanguageModel, task: Task, cell: Cell
) -> None:
    permuted = with_permuted_labels(iclprobe.SubjectConfig(shots=4), model, task, cell)
    labels = dict(zip(cell.demonstrations, permuted.demonstrations, strict=True))
    relabelled = replace(task, train=[labels.get(record, record) for record in task.train])
    alone = iclprobe.compare(model=model, task=relabelled, **SETTINGS)
    assert_same(study.draws["permuted_labels"][0], alone.draws[0])
    assert study.labels_changed[0] == sum(one.label != two.label for one, two in labels.items())


def test_untrained_is_a_comparison_of_the_untrained_copy(
    study: ControlsStudy, model: LanguageModel, task: Task
) -> None:
    for seed in (0, 1):
        alone = iclprobe.compare(model=untrained_copy(model, seed), task=task, seeds=seed, **SETTINGS)
        assert_same(study.draws["untrained"][seed], alone.draws[0])


@pytest.mark.parametrize("control", ["shuffled_prefix", "other_task"])
def test_another_context_changes_icl_alone(
    study: ControlsStudy, model: LanguageModel, other: Task, cell: Cell, control: str
) -> None:
    none, draw = study.draws["none"][0], study[control].draws[0]
    for setting in ("zsl", "ft"):
        assert torch.equal(draw.answers[setting].label_logprobs, none.answers[setting].label_logprobs)
    altered = (
        with_shuffled_prefix(cell) if control == "shuffled_prefix" else with_other_task(cell, model, other)
    )
    captured = iclprobe.capture(model, altered.prompts.icl, share_prefix=False, batch_size=1)
    assert captured.label_logprobs is not None
    assert not torch.allclose(captured.label_logprobs, none.answers["icl"].label_logprobs, atol=1e-2)
    assert torch.allclose(captured.label_logprobs, draw.answers["icl"].label_logprobs, atol=1e-4)


def test_a_random_update_changes_finetuning_alone(
    study: ControlsStudy, model: LanguageModel, cell: Cell
) -> None:
    none, draw = study.draws["none"][0], study.draws["random_update"][0]
    for setting in ("zsl", "icl"):
        assert torch.equal(draw.answers[setting].label_logprobs, none.answers[setting].label_logprobs)
    assert none.finetuned.finetuning is not None
    delta = random_update(model, none.finetuned.finetuning.delta, derive_seed("random update", 0))
    with delta.applied(model):
        captured = iclprobe.capture(model, cell.prompts.zero_shot, batch_size=4)
    assert captured.label_logprobs is not None
    assert torch.equal(captured.label_logprobs, draw.answers["ft"].label_logprobs)
    # W_K and W_V moved as far as in finetuning, matrix by matrix.
    for moved, wanted in zip(draw.finetuned.drift, none.finetuned.drift, strict=True):
        assert moved.drift.relative_frobenius == pytest.approx(wanted.drift.relative_frobenius, rel=1e-4)


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


def test_the_learning_rate_is_chosen_on_the_comparison_itself(model: LanguageModel, task: Task) -> None:
    settings = {**SETTINGS, "learning_rate": "auto", "controls": ("permuted_labels", "untrained")}
    study = iclprobe.controls(model=model, task=task, held_out=8, limit=4, **settings)
    alone = iclprobe.compare(
        model=model, task=task, held_out=8, limit=4, **{**SETTINGS, "learning_rate": "auto"}
    )
    choice = alone.draws[0].finetuned.choice
    assert choice is not None
    for draws in study.draws.values():
        finetuned = draws[0].finetuned
        assert finetuned.choice == choice
        assert finetuned.finetuning is not None and finetuned.finetuning.learning_rate == choice.chosen


def test_a_row_for_each_control_and_measure(study: ControlsStudy) -> None:
    frame = study.to_pandas()
    assert list(frame.columns) == ["control", "measure", "unit", "mean", "std", "draws"]
    assert not frame.duplicated(["control", "measure"]).any()
    row = frame[(frame.control == "random_update") & (frame.measure == "SimAM after finetuning")]
    draws = [draw.sim_am_after.values for draw in study.draws["random_update"]]
    expected = [float(values.nanmean(2).nanmean(0).nanmean()) for values in draws]
    assert row["mean"].item() == pytest.approx(sum(expected) / 2)
    assert row["draws"].item() == 2


def test_the_table_says_what_each_control_is(study: ControlsStudy) -> None:
    table = study.table()
    flat = " ".join(table.split())
    assert "other task the context holds as many tokens of another task's demonstrations (other)" in flat
    counts = ", ".join(map(str, study.labels_changed))
    assert f"({counts} of 4 have another)" in flat
    lines = table.splitlines()
    block = lines.index(next(line for line in lines if line.startswith("SimAOU (cosine)")))
    assert lines[block + 2].startswith("untrained")
    assert f"{study['untrained']['SimAOU']:.3f} ±" in lines[block + 2]


def test_labels_that_could_not_change_are_said(model: LanguageModel, task: Task) -> None:
    alike = replace(task, train=[record for record in task.train if record.label == 1])
    study = iclprobe.controls(
        model=model, task=alike, controls=("none", "permuted_labels"), limit=4, **SETTINGS
    )
    assert study.labels_changed == (0,)
    assert "the demonstrations of seed 0 all have one label" in " ".join(study.table().split())


def test_the_figure_shows_every_control_in_every_panel(study: ControlsStudy) -> None:
    figure = study.plot()
    accuracy, outputs, scores = figure.axes
    assert [tick.get_text() for tick in accuracy.get_yticklabels()] == [
        name.replace("_", " ") for name in CONTROLS
    ]
    handles: Any
    handles, labels = outputs.get_legend_handles_labels()
    measured = dict(zip(labels, handles, strict=True))["measured"][0]
    assert measured.get_xdata().tolist() == pytest.approx([study[name]["SimAOU"] for name in CONTROLS])
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
        *("config.yaml", "manifest.json", "results.json", "table.txt", "controls.csv", "controls.png")
    }
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    iclprobe.controls(iclprobe.ControlsConfig(**config)).save(tmp_path / "again")
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("run", "again"))
    assert one == two
    assert one["controls"]["none"]["measures"]["SimAOU"]["each_draw"] == [first["none"]["SimAOU"]]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"controls": ("placebo",)}, "placebo"),
        ({"controls": ("none", "none")}, "twice"),
        ({"controls": ()}, "controls"),
        ({"other_task": "tone"}, "'tone' itself"),
        ({"other_task": "no-such-task"}, "no-such-task"),
        ({"controls": "untrained", "learning_rate": 1e18}, "control 'untrained', seed 0: .*diverged"),
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


def test_a_control_that_was_not_asked_for_is_named(study: ControlsStudy) -> None:
    with pytest.raises(KeyError, match="random_update"):
        study["placebo"]
