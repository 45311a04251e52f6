"""What a control changes about a draw of demonstrations, and what it leaves."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_checkpoint import TEMPLATE

import iclprobe
from iclprobe import LanguageModel, Record, SubjectConfig, Task, Template, UserError
from iclprobe.analyses.cell import Cell, cell_of, prepare_cell
from iclprobe.analyses.controls.altered_cells import (
    changed_labels,
    next_task_without_network,
    with_other_task,
    with_permuted_labels,
    with_shuffled_prefix,
)

CONFIG = SubjectConfig(shots=6)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LanguageModel:
    return iclprobe.load_model(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def task(records: Path) -> Task:
    return iclprobe.load_task("tone", template=TEMPLATE, label_words=("bad", "good"), data=str(records))


@pytest.fixture(scope="module")
def cell(model: LanguageModel, task: Task) -> Cell:
    return prepare_cell(CONFIG, model, task, 0)


@pytest.mark.parametrize("seed", range(6))
def test_permuted_labels_are_another_sequence_of_the_same_labels(
    model: LanguageModel, task: Task, seed: int
) -> None:
    cell = prepare_cell(CONFIG, model, task, seed)
    permuted = with_permuted_labels(CONFIG, model, task, cell)
    before, after = cell.demonstrations, permuted.demonstrations
    assert [record.fields for record in after] == [record.fields for record in before]
    assert Counter(record.label for record in after) == Counter(record.label for record in before)
    changed = [one.label != other.label for one, other in zip(before, after, strict=True)]
    assert changed_labels(cell, permuted) == sum(changed) > 0
    # What the model reads and what it is finetuned on hold the new labels, and the queries are the same.
    words = [model.require_tokenizer()(f" {word}")["input_ids"][-1] for word in ("bad", "good")]  # type: ignore[index]
    said = [token for token in permuted.prompts.icl.prefix_ids if token in words]
    trained = [sequence.ids[-1] for sequence in permuted.prompts.training]
    assert said == trained == [words[record.label] for record in after]
    assert permuted.prompts.zero_shot == cell.prompts.zero_shot


def test_labels_that_are_all_the_same_cannot_change(model: LanguageModel, task: Task) -> None:
    alike = tuple(record for record in task.train if record.label == 1)[:4]
    cell = cell_of(CONFIG, model, task, 0, alike)
    assert with_permuted_labels(CONFIG, model, task, cell) == cell


def test_a_shuffled_prefix_holds_the_same_tokens_behind_begin_of_sequence(cell: Cell) -> None:
    shuffled = with_shuffled_prefix(cell)
    before, after = cell.prompts.icl.prefix_ids, shuffled.prompts.icl.prefix_ids
    assert before != after and before[0] == after[0]
    assert Counter(before) == Counter(after) and len(before) == len(after)
    assert shuffled.prompts.training == cell.prompts.training
    assert shuffled.prompts.icl.query_ids == cell.prompts.icl.query_ids
    assert with_shuffled_prefix(cell) == shuffled != with_shuffled_prefix(replace(cell, seed=1))


def other_task(count: int) -> Task:
    return Task(
        name="other",
        label_names=("a", "b"),
        train=[Record({"text": f"the {noun}"}, 0) for noun in ("cake", "train", "song")[:count]],
        validation=[Record({"text": "the storm"}, 1)],
        template=Template("other", "is {text}", ("very", "fine"), " goat"),
        source="made",
    )


@pytest.mark.parametrize("count", [1, 3])
def test_another_tasks_demonstrations_fill_exactly_the_same_length(
    model: LanguageModel, cell: Cell, count: int
) -> None:
    other = other_task(count)
    prefix = with_other_task(cell, model, other).prompts.icl.prefix_ids
    assert len(prefix) == len(cell.prompts.icl.prefix_ids) and prefix[0] == cell.prompts.icl.prefix_ids[0]
    words = str(model.require_tokenizer().decode(list(prefix[1:]))).split()
    whole = [
        words[place - 4 : place + 1] for place in range(len(words)) if words[place] == "goat" and place >= 4
    ]
    nouns = {record.fields["text"].split()[1] for record in other.train}
    assert whole and words[-1] == "goat"
    assert {tuple(shown) for shown in whole} == {("is", "the", noun, "very", "goat") for noun in nouns}


def test_enough_demonstrations_of_the_other_task_are_cut_at_the_front(
    model: LanguageModel, task: Task
) -> None:
    # The other task's one demonstration is longer than the context whose place it takes.
    cell = prepare_cell(SubjectConfig(shots=1), model, task, 0)
    long = replace(other_task(1), train=[Record({"text": "the " + "very " * 40 + "cake"}, 0)])
    prefix = with_other_task(cell, model, long).prompts.icl.prefix_ids
    words = str(model.require_tokenizer().decode(list(prefix[1:]))).split()
    assert len(prefix) == len(cell.prompts.icl.prefix_ids)
    assert words[-3:] == ["cake", "very", "goat"]


def test_the_next_task_needs_no_network_and_has_other_labels(task: Task) -> None:
    named = iclprobe.load_task("pocket-topic-code")
    assert next_task_without_network(named).name == "pocket-tone"
    assert next_task_without_network(iclprobe.load_task("pocket-claim")).name == "pocket-topic-code"
    assert next_task_without_network(task).name == "pocket-topic-code"


def test_without_a_task_that_has_other_labels_one_must_be_named(task: Task) -> None:
    every = {label for name in ("pocket-topic", "pocket-tone3", "pocket-claim") for label in labels_of(name)}
    strange = replace(
        task,
        label_names=tuple(sorted(every)),
        template=replace(task.template, label_words=tuple(sorted(every))),
    )
    with pytest.raises(UserError, match="--other-task"):
        next_task_without_network(strange)


def labels_of(name: str) -> tuple[str, ...]:
    return iclprobe.load_task(name).label_names
