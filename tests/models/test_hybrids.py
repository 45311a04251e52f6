"""Checkpoints of models with layers of other kinds between: config.json says which layers have attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_decoders
import torch
from decoders_hybrid import HYBRID
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig

from iclprobe.errors import UserError
from iclprobe.models.checkpoint_config import attending_layers
from iclprobe.models.loading import load_model
from iclprobe.models.weights import MATRICES, open_projections

every_hybrid = pytest.mark.parametrize("name", list(HYBRID))


def saved(name: str, place: Path) -> Any:
    """The tiny model of a hybrid, and its checkpoint at a place."""
    model: Any = tiny_decoders.build(name)
    model.save_pretrained(place)
    return model


def attending(name: str) -> tuple[int, ...]:
    """The layers with attention, as they are written down by hand."""
    layers = HYBRID[name].layout.attending
    assert layers
    return layers


def lose_layer(place: Path, layer: int) -> None:
    """Take everything of one layer out of a checkpoint."""
    file = place / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(file).items() if f".layers.{layer}." not in name}
    save_file(kept, file, metadata={"format": "pt"})


@every_hybrid
def test_the_weights_in_a_file_are_those_of_the_attention_layers(name: str, tmp_path: Path) -> None:
    model = saved(name, tmp_path)
    layers = attending(name)
    with (
        open_projections(tmp_path, matrices=MATRICES) as file,
        open_projections(model, matrices=MATRICES) as live,
    ):
        assert file.keys == live.keys == tuple((layer, matrix) for layer in layers for matrix in MATRICES)
        for one, other in zip(file, live, strict=True):
            assert torch.equal(one.weight, other.weight)
    with open_projections(tmp_path, layers=(-1,)) as file:
        assert {layer for layer, _ in file.keys} == {layers[-1]}


@every_hybrid
def test_a_checkpoint_that_lost_every_attention_layer_is_refused(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path)
    for lost in attending(name):
        lose_layer(tmp_path, lost)
    with pytest.raises(
        UserError, match=rf"no \w+ weight of layer {attending(name)[0]}:|no attention weights"
    ):
        open_projections(tmp_path)
    with pytest.raises(UserError, match=r"tensors missing"):
        load_model(tmp_path)


@every_hybrid
def test_one_lost_layer_is_named(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path)
    lost = attending(name)[-1]
    lose_layer(tmp_path, lost)
    with pytest.raises(UserError, match=rf"holds no query weight of layer {lost}: "):
        open_projections(tmp_path)


@pytest.mark.parametrize("name", ["jamba", "kimi_linear", "qwen3_next"])
def test_a_layer_without_attention_is_refused_by_number(name: str, tmp_path: Path) -> None:
    """Kimi's linear attention has a q_proj of its own."""
    saved(name, tmp_path)
    with pytest.raises(
        UserError, match=r"layer 2 of .* has no attention weights: those with attention are 1, 3"
    ):
        open_projections(tmp_path, layers=(1, 2))
    with pytest.raises(UserError, match=r"layer 4 was asked for, but .* has 4"):
        open_projections(tmp_path, layers=(4,))


def test_kinds_of_layers_that_are_not_known_count_as_their_weights_say() -> None:
    config = PreTrainedConfig()
    config.layers_block_type = ["unheard_of", "mamba", "sliding_attention", "recurrent", "unheard_of"]
    assert attending_layers(config, {0, 1}) == [0, 2]
    assert attending_layers(None, {3, 1}) == [1, 3]
