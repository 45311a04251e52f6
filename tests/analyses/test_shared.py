"""What runs share is the last of each kind, and never what belongs to another model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from iclprobe.analyses.comparison.config import CompareConfig
from iclprobe.analyses.context import Context
from iclprobe.analyses.shared import Shared, model_key, recording_key, zero_shot_key


def test_the_last_of_a_kind_is_taken_and_one_before_it_is_made_again() -> None:
    shared, made = Shared(), []

    def once(kind: str, key: str) -> str:
        return shared.once(kind, key, lambda: made.append(key) or f"{kind} {key}")

    assert [once("a", "1"), once("a", "1"), once("b", "1"), once("a", "2"), once("a", "1")] == [
        *("a 1", "a 1", "b 1", "a 2", "a 1")
    ]
    assert made == ["1", "1", "2", "1"]
    assert shared.last("a", "1") == "a 1" and shared.last("a", "2") is None and shared.last("c", "1") is None


def test_what_was_kept_is_let_go_of_before_another_is_made() -> None:
    shared = Shared()
    shared.keep("a", "1", "first")

    def make() -> str:
        assert shared.last("a", "1") is None
        raise MemoryError

    with pytest.raises(MemoryError):
        shared.once("a", "2", make)
    assert shared.last("a", "1") is None and shared.last("a", "2") is None
    assert shared.once("a", "2", lambda: "second") == "second"
    shared.clear()
    assert shared.last("a", "2") is None


def config(**fields: Any) -> CompareConfig:
    return CompareConfig(**{"model": "pocket-mini", "device": "cpu", **fields})


def test_with_another_model_what_was_recorded_of_the_last_is_let_go_of() -> None:
    shared, loaded = Shared(), []

    def load(fields: CompareConfig) -> Any:
        return shared.model(fields, lambda: loaded.append(fields.model) or fields.model)  # pyright: ignore[reportArgumentType, reportReturnType]

    load(config())
    shared.keep("zero-shot", "key", "recorded")
    shared.require_unchanged("weights of mini")
    load(config(shots=2))
    assert shared.last("zero-shot", "key") == "recorded"
    load(config(model="pocket-small"))
    assert shared.last("zero-shot", "key") is None
    shared.require_unchanged("weights of small")
    load(config())
    assert loaded == ["pocket-mini", "pocket-small", "pocket-mini"]


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "pocket-small"},
        {"revision": "256"},
        {"adapter": "somewhere"},
        {"tokenizer": "somewhere"},
        {"trust_remote_code": True},
        {"dtype": "bfloat16"},
        {"device": "meta"},
    ],
)
def test_a_model_is_another_by_how_it_is_loaded(fields: dict[str, Any]) -> None:
    assert model_key(config(**fields)) != model_key(config())
    assert zero_shot_key(config(**fields)) != zero_shot_key(config())


# What a recording of the pretrained model is asked by. Whoever adds a field says here whether it is one.
OF_A_RECORDING = {
    *("model", "revision", "adapter", "tokenizer", "trust_remote_code", "dtype", "device"),
    *("task", "template", "label_words", "separator", "chat_template", "data", "columns", "quoting"),
    *("limit", "max_record_tokens", "scoring", "batch_size", "plan", "engine"),
}
OF_A_DRAW = {"order", "balanced", "strict_shots", "match_demonstrations", "null_draws", "shots", "seeds"}
AFTERWARDS = {
    *(
        "learning_rate",
        "held_out",
        "score_variant",
        "agreement",
        "resamples",
        "level",
        "recipes",
        "finetuned",
    ),
    *("steps", "revision_template", "save_captures", "keep_rows", "keep_maps", "keep_megabytes"),
}


def test_every_field_of_a_comparison_is_known_to_be_of_a_recording_or_not() -> None:
    import json

    assert set(CompareConfig.model_fields) == OF_A_RECORDING | OF_A_DRAW | AFTERWARDS
    assert set(json.loads(zero_shot_key(config()))) == OF_A_RECORDING
    # Shots and the seed stand beside the key.
    assert set(json.loads(recording_key(config()))) == OF_A_RECORDING | OF_A_DRAW - {"shots", "seeds"}


def test_weights_that_a_run_left_changed_are_refused_and_loaded_anew() -> None:
    context = Context(shared=Shared())
    asked = config(task="pocket-tone", shots=2, limit=4)
    module = context.subject(asked).model.module
    assert context.subject(asked).model.module is module
    with torch.no_grad():
        next(module.parameters()).view(-1)[0] += 1
    with pytest.raises(RuntimeError, match="an earlier run left the weights of the model changed"):
        context.subject(asked)
    assert context.subject(asked).model.module is not module
    context.subject(asked)
