"""A damaged or unusual checkpoint ends in one sentence that says which file is wrong, wherever it is read."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import iclprobe
from iclprobe.errors import UserError
from iclprobe.models.loading import load_model

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
INDEX = "model.safetensors.index.json"
LONGEST = 300


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def to_pickle(folder: Path, wrap: Callable[[Any], Any] = lambda tensors: tensors) -> Path:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(wrap(tensors), folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def to_shard(folder: Path, **changes: Any) -> Path:
    """One shard and its index."""
    shard = folder / "model-00001-of-00001.safetensors"
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(shard)
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, shard.name)} | changes
    (folder / INDEX).write_text(json.dumps(index))
    return shard


def other_file(folder: Path, name: str, shard: Any) -> None:
    to_shard(folder)
    index = json.loads((folder / INDEX).read_text())
    edit(folder / INDEX, weight_map=index["weight_map"] | {name: shard})


NORM = "model.norm.weight"
NO_MODEL: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pointer": (lambda d: (d / "model.safetensors").write_text(POINTER), r"model\.safetensors' is a Git LFS"),
    "pointer to a pickle": (lambda d: to_pickle(d).write_text(POINTER), r"pytorch_model\.bin' is a Git LFS"),
    "pointer to a shard": (lambda d: to_shard(d).write_text(POINTER), r"of-00001\.safetensors' is a Git LFS"),
    "pointer to a configuration": (
        lambda d: (d / "config.json").write_text(POINTER),
        r"config\.json' is a Git LFS",
    ),
    "half": (
        lambda d: cut(d / "model.safetensors", 9000),
        r"model\.safetensors' is truncated: .* after 9000",
    ),
    "half a pickle": (
        lambda d: cut(to_pickle(d), 9000),
        r"cannot read '.*pytorch_model\.bin' as pickled weights",
    ),
    "half a shard": (lambda d: cut(to_shard(d), 9000), r"of-00001\.safetensors' is truncated"),
    "empty": (lambda d: cut(d / "model.safetensors", 0), r"model\.safetensors' is truncated: .* after 0 of"),
    "empty pickle": (
        lambda d: cut(to_pickle(d), 0),
        r"cannot read '.*pytorch_model\.bin' as pickled weights",
    ),
    "a web page": (
        lambda d: (d / "model.safetensors").write_text("<!DOCTYPE html><html>" + " " * 200),
        "damaged safetensors header",
    ),
    "no weights": (
        lambda d: (d / "model.safetensors").unlink(),
        r"holds no weights: expected model\.safetensors",
    ),
    "half a configuration": (lambda d: cut(d / "config.json", 100), r"config\.json of .* is damaged"),
    "a list for a configuration": (
        lambda d: (d / "config.json").write_text("[]"),
        r"config\.json of .* is damaged",
    ),
    "absent shard": (lambda d: to_shard(d).unlink(), r"lacks the shard model-00001-of-00001\.safetensors"),
    "other shard": (
        lambda d: other_file(d, NORM, "no.safetensors"),
        "which its index finds in no.safetensors",
    ),
    "no name for a shard": (lambda d: other_file(d, NORM, 3), f"gives no file for {re.escape(NORM)}"),
    "index without weights": (lambda d: to_shard(d, weight_map={}), "maps no weights"),
}
"""What nothing can be read from."""

NO_RUNNING_MODEL: dict[str, tuple[Callable[[Path], Any], str]] = {
    "index without metadata": (lambda d: to_shard(d, metadata=None), f'{INDEX} of .* has no "metadata"'),
    "heads that are no integer": (
        lambda d: edit(d / "config.json", num_attention_heads=4.0),
        "num_attention_heads.* expected int, got float",
    ),
    "width as a word": (
        lambda d: edit(d / "config.json", hidden_size="wide"),
        "hidden_size.* expected int, got str",
    ),
    "no heads": (
        lambda d: edit(d / "config.json", num_attention_heads=0),
        "cannot load model|can be no 0 heads",
    ),
    "unknown rotation": (
        lambda d: edit(d / "config.json", rope_parameters=None, rope_scaling={"type": "su", "factor": 2.0}),
        r"transformers \S+ knows no rope_scaling\.type 'su' \(correct its config\.json",
    ),
    "unknown activation": (
        lambda d: edit(d / "config.json", hidden_act="geluu"),
        "knows no hidden_act 'geluu'",
    ),
    "unknown family": (lambda d: edit(d / "config.json", model_type="later"), "later"),
    "weights inside a pickle": (
        lambda d: to_pickle(d, lambda tensors: {"model": tensors, "step": 3}),
        r"none of its 30 tensors is there, they are called model, step; save the state dict itself",
    ),
}
"""What can be read, but is no model that runs."""

NO_TOKENIZER: dict[str, tuple[Callable[[Path], Any], str]] = {
    "later format": (
        lambda d: edit(d / "tokenizer.json", pre_tokenizer={"type": "OfALaterVersion"}),
        r"tokenizer\.json is of a format unknown to tokenizers \d.*upgrade tokenizers",
    ),
    "pointer": (
        lambda d: (d / "tokenizer.json").write_text(POINTER),
        r"tokenizer\.json' is a Git LFS pointer",
    ),
    "half": (lambda d: cut(d / "tokenizer.json", 300), r"tokenizer\.json of .* is damaged"),
    "empty": (lambda d: cut(d / "tokenizer.json", 0), r"tokenizer\.json of .* is damaged"),
    "damaged settings": (
        lambda d: cut(d / "tokenizer_config.json", 9),
        r"tokenizer_config\.json of .* is damaged",
    ),
}


def refused(folder: Path, read: Callable[[str], Any], pattern: str) -> None:
    with pytest.raises(UserError, match=pattern) as caught:
        read(str(folder))
    sentence = str(caught.value)
    assert folder.name in sentence and "\n" not in sentence
    assert len(sentence) - len(str(folder)) <= LONGEST


def damaged(checkpoint: Path, folder: Path, damage: Callable[[Path], Any]) -> Path:
    shutil.copytree(checkpoint, folder)
    damage(folder)
    return folder


@pytest.mark.parametrize("case", list(NO_MODEL))
def test_what_cannot_be_read_is_named_by_everything_that_reads_it(
    case: str, checkpoint: Path, tmp_path: Path
) -> None:
    damage, pattern = NO_MODEL[case]
    folder = damaged(checkpoint, tmp_path / "m", damage)
    for read in (load_model, iclprobe.sparsity):
        refused(folder, read, pattern)


@pytest.mark.parametrize("case", list(NO_RUNNING_MODEL))
def test_what_cannot_run_is_named(case: str, checkpoint: Path, tmp_path: Path) -> None:
    damage, pattern = NO_RUNNING_MODEL[case]
    folder = damaged(checkpoint, tmp_path / "m", damage)
    refused(folder, load_model, pattern)
    try:
        iclprobe.sparsity(str(folder))
    except UserError as error:
        assert len(str(error)) - len(str(folder)) <= 2 * LONGEST


@pytest.mark.parametrize("case", list(NO_TOKENIZER))
def test_a_tokenizer_that_cannot_be_read_is_named(case: str, checkpoint: Path, tmp_path: Path) -> None:
    damage, pattern = NO_TOKENIZER[case]
    folder = damaged(checkpoint, tmp_path / "m", damage)
    refused(folder, load_model, pattern)
    assert len(iclprobe.sparsity(str(folder)).to_pandas())


@pytest.mark.parametrize(
    "key",
    [
        *("model_type", "hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers"),
        *("dtype", "rope_parameters", "vocab_size", "tie_word_embeddings", "architectures", "head_dim"),
    ],
)
def test_no_value_of_the_configuration_ends_in_anything_but_a_sentence(
    key: str, checkpoint: Path, tmp_path: Path
) -> None:
    folder = damaged(checkpoint, tmp_path / "m", lambda _: None)
    whole = (folder / "config.json").read_text()
    for value in (None, "x", -1, 0, 1.5, 7, True, [], ["x"], {}, {"a": 1}):
        (folder / "config.json").write_text(json.dumps(json.loads(whole) | {key: value}))
        for read in (load_model, iclprobe.sparsity):
            try:
                read(str(folder))
            except UserError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("family", ["falcon", "codegen", "gpt_bigcode", "gpt_neox"])
@pytest.mark.parametrize("heads", [0, -1, 3, 7])
def test_heads_that_fused_weights_cannot_have_are_refused(family: str, heads: int, tmp_path: Path) -> None:
    import tiny_families

    model = tiny_families.build(family)
    model.save_pretrained(tmp_path)
    name = model.config.attribute_map.get("num_attention_heads", "num_attention_heads")
    edit(tmp_path / "config.json", **{name: heads})
    for read in (load_model, iclprobe.sparsity):
        with pytest.raises(UserError):
            read(str(tmp_path))


def test_what_is_nowhere_asks_for_a_directory_or_a_hub_id() -> None:
    with pytest.raises(UserError, match=r"cannot load model .*give a local directory or a hub id"):
        load_model("/nowhere/at/all")


def test_a_file_that_the_configuration_names_is_the_one_that_is_read(
    checkpoint: Path, tmp_path: Path
) -> None:
    """A configuration may name its file of weights; both readers then take that file."""
    folder = damaged(checkpoint, tmp_path / "m", lambda _: None)
    tensors = load_file(folder / "model.safetensors")
    half = {name: tensor / 2 for name, tensor in tensors.items()}
    save_file(half, folder / "half.safetensors", metadata={"format": "pt"})
    edit(folder / "config.json", transformers_weights="half.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(load_model(folder).module.state_dict()[name], half[name])
    (first, *_) = iclprobe.attention_projections(folder)
    assert torch.equal(first.weight, half[name])


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./missing", "no/such/place", "a" * 200])
def test_no_words_about_repositories_reach_who_mistyped_a_directory(name: str, checkpoint: Path) -> None:
    for load in (
        lambda: load_model(name),
        lambda: load_model(checkpoint, tokenizer=name),
        lambda: load_model(checkpoint, adapter=name),
        lambda: iclprobe.sparsity(name),
    ):
        with pytest.raises(UserError) as caught:
            load()
        assert "Repo id" not in str(caught.value) and "repo_type" not in str(caught.value)
