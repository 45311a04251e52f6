"""The shipped pocket models: what their card claims, checked on the weights as they load for a user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import iclprobe
from iclprobe.errors import UserError
from iclprobe.models.pocket import POCKET_MODELS, pocket_path, pocket_steps
from iclprobe.models.pocket.corpus import HELD_OUT, Document, draw_batch, draw_document, token_batch
from iclprobe.models.pocket.load import WEIGHTS
from iclprobe.models.pocket.measure import pocket_accuracy
from iclprobe.models.pocket.tokenizer import build_tokenizer
from iclprobe.models.pocket.train import (
    POCKET,
    PocketRecipe,
    build_model,
    learning_rate_factor,
    main,
    train,
    training_documents,
)
from iclprobe.tasks.pocket import DEFAULT_POCKET_TASK, POCKET_TASKS, pocket_records
from iclprobe.tasks.pocket_language import TONES, TOPICS, VOCABULARY


def load(path: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, local_files_only=True)
    return model.eval(), AutoTokenizer.from_pretrained(path, local_files_only=True)


@pytest.fixture(scope="module")
def pocket() -> tuple[Any, Any]:
    torch.set_num_threads(1)
    return load(pocket_path())


def test_the_model_is_as_small_and_as_deep_as_it_says(pocket: tuple[Any, Any]) -> None:
    model, _ = pocket
    assert sum(parameter.numel() for parameter in model.parameters()) <= 900_000
    assert model.config.num_hidden_layers >= 6
    assert model.config.max_position_embeddings == 512


def test_the_model_knows_topics_by_their_natural_names(pocket: tuple[Any, Any]) -> None:
    row = pocket_accuracy(pocket[0], "pocket-topic", shots=8, draws=4, queries=128)
    assert row.zero_shot >= 0.9


def test_it_learns_from_demonstrations_what_label_words_mean(pocket: tuple[Any, Any]) -> None:
    row = pocket_accuracy(pocket[0], DEFAULT_POCKET_TASK, shots=8, draws=16, queries=64)
    assert row.icl >= row.zero_shot + 0.2
    assert row.permuted <= row.chance + 0.05


def test_finetuning_with_a_chosen_learning_rate_changes_predictions_without_any_option() -> None:
    result = iclprobe.compare(limit=64, device="cpu", resamples=100)
    assert (result.config.model, result.config.task) == ("pocket", DEFAULT_POCKET_TASK)
    assert len(result.tables["rate_search"]) == 11
    assert result["predictions changed by finetuning"] >= 10


def test_label_words_that_are_held_out_never_label_their_axis() -> None:
    generator = np.random.default_rng(11)
    documents = [draw_document(generator, 128) for _ in range(4000)]
    used: dict[str, set[str]] = {axis: set() for axis in HELD_OUT}
    for document in documents:
        if document.axis is not None:
            words = set(document.label_words)
            used[document.axis] |= words
            assert not words & HELD_OUT[document.axis]
            assert not set(document.words) & HELD_OUT[document.axis]
            assert {label for _, label in labelled_items(document)} <= words
    assert HELD_OUT["tone"] <= used["topic"] and HELD_OUT["topic"] <= used["tone"]
    assert set(POCKET_TASKS["pocket-tone-code"].label_words) == HELD_OUT["tone"]


@pytest.mark.slow
def test_no_training_document_pairs_topics_with_the_words_of_the_default_task() -> None:
    words = set(POCKET_TASKS[DEFAULT_POCKET_TASK].label_words)
    documents = 0
    for step in range(POCKET.steps):
        for document in training_documents(POCKET, step):
            documents += 1
            assert document.axis != "topic" or not words <= set(document.label_words)
    assert documents > 35_000


def labelled_items(document: Document) -> list[tuple[list[str], str]]:
    """Read the items of a labelled document back from its words alone."""
    markers = {"Sentiment:", "Output:", "=>", "Answer:"}
    items: list[tuple[list[str], str]] = []
    start = 1
    for position, word in enumerate(document.words[:-1]):
        if word in markers:
            items.append((list(document.words[start:position]), document.words[position + 1]))
            start = position + 3
    return items


def test_every_item_carries_the_label_of_its_class() -> None:
    class_of = {word: name for group in (TOPICS, TONES) for name, words in group.items() for word in words}
    generator = np.random.default_rng(5)
    for document in (draw_document(generator, 128) for _ in range(300)):
        if document.axis in ("tone", "topic"):
            group = TONES if document.axis == "tone" else TOPICS
            meanings: dict[str, set[str]] = {}
            for words, label in labelled_items(document):
                (name,) = {class_of[word] for word in words if class_of.get(word) in group}
                meanings.setdefault(label, set()).add(name)
            assert all(len(names) == 1 for names in meanings.values())


def test_batches_depend_on_seed_and_step_alone() -> None:
    first = token_batch(draw_batch(3, 7, 4, 64))
    assert first.shape == (4, 64)
    assert np.array_equal(first, token_batch(draw_batch(3, 7, 4, 64)))
    assert not np.array_equal(first, token_batch(draw_batch(3, 8, 4, 64)))
    assert (first[:, 0] == VOCABULARY.index("<s>")).all()


def test_the_tokenizer_goes_there_and_back(pocket: tuple[Any, Any]) -> None:
    shipped, built = pocket[1], build_tokenizer()
    text = "Input: the awful soup Output: foo\nInput: we saw the dog Output:"
    ids = shipped(text).input_ids
    assert ids == built(text).input_ids
    assert shipped.convert_ids_to_tokens(ids)[:4] == ["<s>", "Input:", "the", "awful"]
    assert shipped.decode(ids, skip_special_tokens=True) == text
    assert shipped("a zebra").input_ids[1:] == [shipped.unk_token_id] * 2
    for name in POCKET_TASKS:
        record, task = pocket_records(name)[0][0], POCKET_TASKS[name]
        query = task.query.format(**record.fields)
        start = shipped(query).input_ids
        assert shipped.unk_token_id not in start
        for word in task.label_words:
            assert shipped(f"{query} {word}").input_ids == [*start, VOCABULARY.index(word)]


def test_every_checkpoint_and_model_loads_from_its_own_directory() -> None:
    steps = pocket_steps()
    assert list(steps) == sorted(set(steps)) and steps[-1] == POCKET.steps and len(steps) >= 10
    paths = [pocket_path(step=step) for step in steps] + [pocket_path(name) for name in POCKET_MODELS]
    for path in paths:
        model, tokenizer = load(path)
        ids = tokenizer("the awful soup =>", return_tensors="pt").input_ids
        assert model(input_ids=ids).logits.shape == (1, 5, len(VOCABULARY))
    assert pocket_path(step=steps[-1]) == pocket_path()


def test_the_weights_take_less_than_25_megabytes() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 25_000_000


def test_smaller_models_are_smaller() -> None:
    sizes = [sum(p.numel() for p in load(pocket_path(name))[0].parameters()) for name in POCKET_MODELS]
    assert len(sizes) == 3 and sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 3


def test_unknown_models_and_steps_are_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"pocket-large.*pocket"):
        pocket_path("pocket-large")
    with pytest.raises(UserError, match=r"no step 7 .*use one of 0, "):
        pocket_path(step=7)


def test_the_learning_rate_rises_stays_and_falls() -> None:
    factors = [learning_rate_factor(step, warmup=4, steps=40) for step in range(40)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[30] == 1.0
    assert factors[35] == pytest.approx(0.5)
    assert factors[39] == pytest.approx(0.1)


def test_training_runs_from_end_to_end_and_repeats_itself(tmp_path: Path) -> None:
    recipe = PocketRecipe(
        name="tiny",
        layers=1,
        width=16,
        heads=2,
        hidden=16,
        steps=2,
        tokens_per_step=128,
        length=64,
        checkpoints=(0, 1),
    )
    lines: list[str] = []
    trained = train(recipe, tmp_path, report=lines.append)
    again = train(recipe, tmp_path / "again", report=lines.append)
    assert len(lines) == 2 and lines[0].startswith("tiny 2 ")
    for (name, one), other in zip(trained.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    first, _ = load(tmp_path / "tiny-steps" / "step-000000")
    last, _ = load(tmp_path / "tiny")
    start = build_model(recipe).state_dict()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, start[name].half().float()), name
    assert any(
        not torch.equal(tensor, last.state_dict()[name]) for name, tensor in first.state_dict().items()
    )
    assert (tmp_path / "tiny-steps" / "step-000001" / "tokenizer.json").exists()


def test_a_number_of_steps_without_sense_is_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--out", str(tmp_path / "out"), "--steps", "-3", "--only", "pocket-mini"])
    assert ended.value.code == 2
    assert "--steps cannot be -3: it should be at least 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
