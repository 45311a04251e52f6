"""Every way in which what a model's files of settings say can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from damaged_models import WRITERS, Damage, drop, edit

_NESTED: dict[str, Any] = {"a": {"b": [{"c": None}]}}
RETYPED: dict[str, Any] = {
    "nothing": None,
    "a word": "wide",
    "a list": ["wide", 3],
    "negative": -1,
    "zero": 0,
    "huge": 10**18,
    "a fraction": 0.37,
    "true": True,
    "nested": _NESTED,
}


def _set(file: str, key: str, value: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / file, **{key: value})


ANOTHER = {
    "another activation": "a model may have been trained with any activation",
    "another family": "prompts are built without weights, and the family decides how many tokens fit",
    "a sibling family": "prompts are built without weights, and the family decides how many tokens fit",
    "one head": "any number of heads that divides the width fits the weights",
    "rms_norm_eps is a fraction": "any positive number is added inside a norm",
    "layer_norm_epsilon is a fraction": "any positive number is added inside a norm",
    # transformers refuses whole numbers there in most processes, and in some takes them as the numbers they are.
    "rms_norm_eps is huge": "any positive number is added inside a norm",
    "rms_norm_eps is zero": "nothing may be added inside a norm",
    "layer_norm_epsilon is huge": "any positive number is added inside a norm",
    "layer_norm_epsilon is zero": "nothing may be added inside a norm",
    "scale_attn_by_inverse_layer_idx is true": "a model may have been trained either way",
    "scale_attn_weights is false": "a model may have been trained either way",
    "max_position_embeddings is huge": "rotation knows no last position",
    "no max_position_embeddings": "its family has a default, and rotation knows no last position",
    "n_positions is huge": "prompts are built without weights, which alone tell how many positions there are",
    "no n_positions": "prompts are built without weights, which alone tell how many positions there are",
    "a token beyond the embedding": "prompts are built without weights, which alone tell how many tokens there are",
    "a class of another family": "the class decides how a text is cut",
}
"""Why a damage leaves a sound input that has other numbers."""


def _damage(name: str, model: str, do: Callable[[Path], Any], told: str = "") -> Damage:
    return Damage(name, model, do, ANOTHER.get(name.partition(": ")[2], ""), told)


def retyped_settings(model: str, folder: Path) -> Iterator[Damage]:
    """Each entry of the `config.json` in a folder, as everything that it is not."""
    for key in json.loads((folder / "config.json").read_text()):
        for what, value in RETYPED.items():
            yield _damage(f"config.json: {key} is {what}", model, _set("config.json", key, value))
        yield _damage(f"config.json: no {key}", model, lambda d, key=key: drop(d / "config.json", key))


_UNKNOWN: dict[str, dict[str, Any]] = {
    "an unknown activation": {"hidden_act": "geluu"},
    "another activation": {"hidden_act": "gelu"},
    "an unknown family": {"model_type": "later"},
    "another family": {"model_type": "gpt2"},
    "a family without attention": {"model_type": "resnet"},
    "an encoder": {"model_type": "bert", "architectures": ["BertModel"]},
    "an unknown architecture": {"architectures": ["LaterForCausalLM"]},
    "architectures of numbers": {"architectures": [1, 2]},
    "an unknown dtype": {"dtype": "float99"},
    "an unknown old dtype": {"torch_dtype": "float99"},
    "a dtype that is no float": {"dtype": "int8"},
    "an unknown rotation": {"rope_parameters": None, "rope_scaling": {"type": "su", "factor": 2.0}},
    "a rotation of no factor": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}},
    "a rotation by a word": {"rope_parameters": {"rope_type": "linear", "factor": "two", "rope_theta": 1e4}},
    "a rotation by zero": {"rope_parameters": {"rope_type": "linear", "factor": 0.0, "rope_theta": 1e4}},
    "a rotation by NaN": {"rope_parameters": {"rope_type": "linear", "factor": float("nan"), "rope_theta": 1e4}},
    "a frequency of zero": {"rope_parameters": {"rope_type": "default", "rope_theta": 0.0}},
    "a negative frequency": {"rope_parameters": {"rope_type": "default", "rope_theta": -5.0}},
    "a long rotation of one entry": {
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0], "long_factor": [1.0],
            "original_max_position_embeddings": 64,
        }
    },
    "an unknown quantisation": {"quantization_config": {"quant_method": "later"}},
    "a quantisation that is a word": {"quantization_config": "later"},
    "a quantisation without its package": {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    "an unknown attention": {"_attn_implementation": "later", "attn_implementation": "later"},
    "code of its own": {"auto_map": {"AutoConfig": "made.Config", "AutoModelForCausalLM": "made.Model"}},
    "code that is a list": {"auto_map": ["made.Config"]},
    "a file of weights that is not there": {"transformers_weights": "other.safetensors"},
    "a file of weights that is a number": {"transformers_weights": 3},
    "a file of weights above": {"transformers_weights": "../outside.safetensors"},
    "NaN for a norm": {"rms_norm_eps": float("nan")},
    "infinity for a norm": {"rms_norm_eps": float("inf")},
    "labels that are a list": {"id2label": ["a"]},
    "a text configuration that is a word": {"text_config": "later"},
}  # fmt: skip


def _unknown_values() -> Iterator[Damage]:
    for what, values in _UNKNOWN.items():
        yield _damage(f"config.json: {what}", "llama", lambda d, v=values: edit(d / "config.json", **v))
    for what, values in {
        "an unknown activation": {"activation_function": "geluu"},
        "another family": {"model_type": "llama"},
        "a sibling family": {"model_type": "gpt_neo"},
        "heads that do not divide": {"n_head": 5},
        "one head": {"n_head": 1},
        "more layers": {"n_layer": 3},
        "fewer layers": {"n_layer": 1},
        "more tokens": {"vocab_size": 400},
        "fewer tokens": {"vocab_size": 100},
        "a shorter context": {"n_positions": 16},
        "a negative norm": {"layer_norm_epsilon": -5.0},
    }.items():
        yield _damage(f"config.json: {what}", "gpt2", lambda d, v=values: edit(d / "config.json", **v))


def _parts(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        path = folder / "tokenizer.json"
        held = json.loads(path.read_text())
        change(held)
        path.write_text(json.dumps(held))

    return do


def _larger(folder: Path) -> None:
    """Word after word to the end of the vocabulary, and one of the prompts' own words behind all of them."""

    def change(held: dict[str, Any]) -> None:
        ids = held["model"]["vocab"]
        ids["the"] = len(ids) + 500

    _parts(change)(folder)


def _tokenizers() -> Iterator[Damage]:
    changes: dict[str, Callable[[dict[str, Any]], Any]] = {
        "another version": lambda t: t.update(version="9.0"),
        "no version": lambda t: t.pop("version"),
        "an unknown model": lambda t: t["model"].update(type="OfALaterVersion"),
        "no model": lambda t: t.pop("model"),
        "a model that is a word": lambda t: t.update(model="BPE"),
        "no vocabulary": lambda t: t["model"].pop("vocab"),
        "an empty vocabulary": lambda t: t["model"].update(vocab={}),
        "a vocabulary that is a list": lambda t: t["model"].update(vocab=["a", "b"]),
        "ids that are words": lambda t: t["model"].update(vocab=dict.fromkeys(t["model"]["vocab"], "a")),
        "ids that are negative": lambda t: t["model"].update(vocab=dict.fromkeys(t["model"]["vocab"], -1)),
        "ids that are all one": lambda t: t["model"].update(vocab=dict.fromkeys(t["model"]["vocab"], 0)),
        "an unknown pre-tokenizer": lambda t: t.update(pre_tokenizer={"type": "OfALaterVersion"}),
        "a damaged expression": lambda t: t.update(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated", "invert": False}
        ),
        "an unknown normalizer": lambda t: t.update(normalizer={"type": "OfALaterVersion"}),
        "an unknown decoder": lambda t: t.update(decoder={"type": "OfALaterVersion"}),
        "an unknown post-processor": lambda t: t.update(post_processor={"type": "OfALaterVersion"}),
        "added tokens that are a word": lambda t: t.update(added_tokens="a"),
        "an added token without an id": lambda t: t.update(added_tokens=[{"content": "<made>"}]),
        "nothing": lambda t: t.clear(),
    }  # fmt: skip
    for model in WRITERS:
        for what, change in changes.items():
            yield _damage(f"tokenizer.json: {what}", model, _parts(change))
    yield _damage("tokenizer.json: a token beyond the embedding", "llama", _larger, told="token")
    for what, change in {
        "an unknown class": {"tokenizer_class": "LaterTokenizer"},
        "a class that is a number": {"tokenizer_class": 3},
        "a class of another family": {"tokenizer_class": "BertTokenizer"},
        "a begin token that is a number": {"bos_token": 3},
        "a begin token that is a list": {"bos_token": ["<s>"]},
        "a begin token that is nested": {"bos_token": {"content": 3}},
        "a length that is a word": {"model_max_length": "long"},
        "a length of zero": {"model_max_length": 0},
        "an added token that is a word": {"added_tokens_decoder": {"0": "a"}},
        "added tokens that are a list": {"added_tokens_decoder": [1]},
        "an added token of no number": {"added_tokens_decoder": {"a": {"content": "a"}}},
        "code of its own": {"auto_map": {"AutoTokenizer": ["made.Tokenizer", None]}},
        "code that is a number": {"auto_map": 3},
        "a side that is a word": {"padding_side": "above"},
        "a template that is a number": {"chat_template": 3},
    }.items():
        for model in WRITERS:
            yield _damage(
                f"tokenizer_config.json: {what}",
                model,
                lambda d, v=change: edit(d / "tokenizer_config.json", **v),
            )


def _templates() -> Iterator[Damage]:
    for what, text in {
        "never closed": "{% for message in messages %}",
        "no expression": "{{ messages[ }}",
        "a division by zero": "{{ 1 / 0 }}",
        "an unknown filter": "{{ messages | later }}",
        "an unknown name": "{{ later.name }}",
        "its own refusal": "{{ raise_exception('no system\n prompt ' * 90) }}",
        "another that it includes": "{% include '/etc/passwd' %}",
        "no text": "{# nothing #}",
        "no message": "hello",
        "a text that is far too long": "{{ 'a' * 10000000000 }}",
    }.items():
        yield _damage(
            f"chat_template.jinja: {what}",
            "llama",
            lambda d, t=text: (d / "chat_template.jinja").write_text(t),
        )


def _generation() -> Iterator[Damage]:
    for what, value in {
        "a list": [],
        "a word": "a",
        "numbers that are words": {"eos_token_id": "a", "max_length": "b"},
        "an unknown entry": {"later": 3},
        "a cache of no kind": {"cache_implementation": "later"},
        "a temperature below zero": {"temperature": -1.0, "do_sample": True},
    }.items():
        yield _damage(
            f"generation_config.json: {what}",
            "llama",
            lambda d, v=value: (d / "generation_config.json").write_text(json.dumps(v)),
        )


def _repeated(folder: Path) -> None:
    text = (folder / "config.json").read_text().rstrip()[:-1]
    (folder / "config.json").write_text(text + ', "num_attention_heads": 2}')


def setting_damages() -> tuple[Damage, ...]:
    """Everything that is done to settings, tokenizers and templates, but for `retyped_settings`."""
    deep = "[" * 100_000
    return (
        *_unknown_values(),
        *_tokenizers(),
        *_templates(),
        *_generation(),
        _damage("config.json: an entry twice", "llama", _repeated),
        *(
            _damage(f"{file}: deeper than is read", "llama", lambda d, f=file: (d / f).write_text(deep))
            for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
        ),
    )
