"""Activations that are computed again give the same gradients, bit for bit, and are not kept."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_decoders
import tiny_families
import torch
from model_snapshot import assert_as_it_was, fresh, same_bits, sequences, snapshot

from iclprobe.models import finetuning_memory
from iclprobe.models.finetuning import Finetuning, finetune
from iclprobe.models.loading import load_model
from iclprobe.models.recipe import Recipe, preset

_WHOLE = Recipe(optimizer="gd", parameters="all", epochs=2)


def _finetuned(name: str, recipe: Recipe, recompute: bool | None) -> Finetuning:
    model = load_model(tiny_families.build(name))
    return finetune(model, sequences(3), recipe, learning_rate=0.01, seed=0, recompute=recompute)


@pytest.mark.parametrize("name", tiny_families.FAMILIES)
def test_every_family_learns_the_same_bit_for_bit(name: str) -> None:
    plain, again = (_finetuned(name, _WHOLE, recompute) for recompute in (False, True))
    assert (plain.recomputed, again.recomputed) == (False, True)
    assert again.losses == plain.losses
    for parameter, tensor in plain.delta.tensors.items():
        assert same_bits(again.delta.tensors[parameter], tensor), parameter


@pytest.mark.parametrize("parameters", ["attn_v@-1", "attn_kv", "lora_qv"])
def test_so_does_a_part_of_a_model(parameters: str) -> None:
    recipe = Recipe(optimizer="gd", parameters=parameters)
    plain, again = (_finetuned("llama", recipe, recompute) for recompute in (False, True))
    assert all(
        same_bits(again.delta.tensors[name], plain.delta.tensors[name]) for name in plain.delta.tensors
    )


def test_what_is_kept_for_the_backward_pass_is_less_and_the_model_is_as_it_was() -> None:
    module = fresh("llama")
    model, before = load_model(module), snapshot(module)
    kept = []
    for recompute in (False, True):
        sizes: list[int] = []

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            finetune(
                model, sequences(3), Recipe(optimizer="gd"), learning_rate=0.01, seed=0, recompute=recompute
            )
        kept.append(sum(sizes))
    assert_as_it_was(module, before)
    assert not any("forward" in part.__dict__ for part in module.modules())
    assert kept[1] < 0.5 * kept[0]


def test_it_is_done_where_memory_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _finetuned("llama", _WHOLE, None).recomputed
    monkeypatch.setattr(finetuning_memory, "free_memory", lambda device: 1000)
    assert _finetuned("llama", _WHOLE, None).recomputed
    # One layer's activations are there at a time anyway.
    assert not _finetuned("llama", preset("barnatan_lcft"), None).recomputed


def test_layers_that_share_keys_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetuning_memory, "free_memory", lambda device: 1000)
    model: Any = load_model(tiny_decoders.build("gemma3n_text"))
    assert not finetune(model, sequences(2), Recipe(), learning_rate=0.01, seed=0).recomputed
