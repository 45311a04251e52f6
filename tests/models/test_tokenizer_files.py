"""A tokenizer is the one that lies there or the one that was given; where there is none, none is made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_families
from model_snapshot import fresh
from transformers import AutoTokenizer

import iclprobe
from iclprobe import UserError
from iclprobe.models.loading import load_model

IDS = tiny_families.prompts("llama")[0]


# Families for which transformers makes up an empty tokenizer, and some for which it raises.
@pytest.mark.parametrize(
    "family", ["gpt2", "gemma", "qwen2", "cohere", "xglm", "opt", "llama", "falcon", "olmo2"]
)
def test_a_directory_without_tokenizer_takes_ids_and_says_what_texts_need(
    family: str, tmp_path: Path
) -> None:
    fresh(family).save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert model.tokenizer is None
    ids = tiny_families.prompts(family)[0]
    assert iclprobe.capture(model, [ids]).attention_output is not None
    with pytest.raises(UserError, match=r"holds no tokenizer: give tokenizer=… \(--tokenizer DIR\)"):
        iclprobe.capture(model, ["the cake"])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_tokenizer_that_was_asked_for_must_be_there(family: str, tmp_path: Path, checkpoint: Path) -> None:
    fresh(family).save_pretrained(tmp_path / "bare")
    for place in (checkpoint, load_model(checkpoint)):
        with pytest.raises(UserError, match=r"bare' holds no tokenizer: give tokenizer=…"):
            load_model(place, tokenizer=tmp_path / "bare")
    with pytest.raises(UserError, match=r"cannot load tokenizer"):
        load_model(checkpoint, tokenizer=tmp_path / "nowhere")


def test_settings_without_a_vocabulary_are_no_tokenizer(tmp_path: Path, checkpoint: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "model")
    for name in ("tokenizer.json", "special_tokens_map.json"):
        (tmp_path / "model" / name).unlink(missing_ok=True)
    assert (tmp_path / "model" / "tokenizer_config.json").exists()
    assert load_model(tmp_path / "model").tokenizer is None


@pytest.mark.parametrize("given", ["place", "path", "object"])
def test_a_given_tokenizer_is_the_one_that_is_used(given: str, tmp_path: Path, checkpoint: Path) -> None:
    module: Any = load_model(checkpoint).module
    module.save_pretrained(tmp_path)
    tokenizer: Any = {
        "place": str(checkpoint),
        "path": checkpoint,
        "object": AutoTokenizer.from_pretrained(str(checkpoint)),
    }[given]
    wanted = load_model(checkpoint).require_tokenizer()("the cake is lovely")["input_ids"]
    for model in (tmp_path, module, load_model(tmp_path), load_model(module)):
        loaded = load_model(model, tokenizer=tokenizer)
        assert loaded.require_tokenizer()("the cake is lovely")["input_ids"] == wanted
    assert load_model(tmp_path, tokenizer="pocket").require_tokenizer().vocab_size > 100


def test_another_models_tokenizer_is_told_by_its_tokens(checkpoint: Path) -> None:
    model = load_model(checkpoint, tokenizer="pocket")
    with pytest.raises(UserError, match=r"has the token \d+ and .* knows \d+ tokens: tokenise with"):
        iclprobe.capture(model, ["the weather is lovely today"])
    with pytest.raises(UserError, match=r"has the token 5000 and"):
        iclprobe.capture(model, [[3, 5000]])


def test_a_vocabulary_of_two_files_is_a_tokenizer(tmp_path: Path) -> None:
    fresh("gpt2").save_pretrained(tmp_path)
    words = {"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}
    (tmp_path / "vocab.json").write_text(json.dumps(words))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    assert load_model(tmp_path).require_tokenizer()("ab")["input_ids"] == [2]


@pytest.mark.parametrize(
    "damage", [lambda text: text[: len(text) // 2], lambda text: text.replace('"Split"', '"OfALaterVersion"')]
)
def test_a_damaged_tokenizer_is_refused_in_one_sentence(
    damage: Any, tmp_path: Path, checkpoint: Path
) -> None:
    shutil.copytree(checkpoint, tmp_path / "model")
    file = tmp_path / "model" / "tokenizer.json"
    text = file.read_text()
    assert damage(text) != text
    file.write_text(damage(text))
    with pytest.raises(
        UserError,
        match=r"tokenizer\.json of .* is (damaged|of a format unknown)|its tokenizer\.json is of a format unknown",
    ) as refusal:
        load_model(tmp_path / "model")
    assert "\n" not in str(refusal.value)


def test_a_comparison_takes_the_tokenizer_it_is_told(tmp_path: Path, checkpoint: Path, records: Path) -> None:
    module: Any = load_model(checkpoint).module
    module.save_pretrained(tmp_path)
    options: Any = {
        "task": "tone",
        "template": "Sentence: {text} Label:",
        "label_words": ("bad", "good"),
        "data": str(records),
        "shots": 4,
        "limit": 4,
        "learning_rate": 0.1,
    }
    with pytest.raises(UserError, match=r"holds no tokenizer"):
        iclprobe.compare(model=str(tmp_path), **options)
    frames = [
        iclprobe.compare(model=model, tokenizer=tokenizer, **options).to_pandas()
        for model, tokenizer in (
            (str(tmp_path), str(checkpoint)),
            (module, str(checkpoint)),
            (str(checkpoint), None),
        )
    ]
    assert frames[0].equals(frames[2]) and frames[1].equals(frames[2])


def test_accuracy_along_a_series_takes_it_too(tmp_path: Path, checkpoint: Path) -> None:
    pocket = load_model("pocket")
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        pocket.module.save_pretrained(place)
    options: Any = {"icl": ("pocket-tone",), "shots": 2, "seeds": (0,), "limit": 4}
    names = [str(place) for place in places]
    with pytest.raises(UserError, match=r"holds no tokenizer"):
        iclprobe.drift(names, **options)
    study = iclprobe.drift(names, tokenizer="pocket", **options)
    accuracy = study.tables["accuracy"]
    assert len(accuracy) == 2 and accuracy["icl"].notna().all()
