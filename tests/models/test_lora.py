"""Adapters are trained, merged into a delta, and gone afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from model_snapshot import assert_as_it_was, fresh, one_by_one_nll, sequences, snapshot

from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import load_model
from iclprobe.models.recipe import Recipe, load_recipe

pytest.importorskip("peft", reason="adapters need the peft extra")


def _recipe(**changes: Any) -> Recipe:
    return load_recipe({"parameters": "lora_qv", "epochs": 2, "lora_rank": 2, **changes})


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "opt"])
@pytest.mark.parametrize("schedule", ["joint", "layer_causal"])
def test_a_merged_adapter_is_of_low_rank_and_the_model_is_as_it_was(name: str, schedule: str):
    module = fresh(name)
    before = snapshot(module)
    modules = [type(part) for part in module.modules()]
    done = finetune(load_model(module), sequences(3), _recipe(schedule=schedule), learning_rate=0.05, seed=0)
    assert_as_it_was(module, before)
    assert [type(part) for part in module.modules()] == modules
    assert not hasattr(module, "peft_config")
    for parameter, tensor in done.delta.tensors.items():
        change = (tensor - module.get_parameter(parameter).detach()).double()
        singular = torch.linalg.svdvals(change)
        assert singular[0] > 1e-5, parameter
        assert singular[2] < 1e-5 * max(1.0, float(singular[0])), parameter


def test_the_merged_model_has_the_loss_that_training_ended_with():
    training = sequences(3)
    model = load_model(fresh("llama"))
    done = finetune(model, training, _recipe(epochs=5), learning_rate=0.05, seed=0)
    with done.delta.applied(model), torch.no_grad():
        total, count = one_by_one_nll(model.module, training, "all")
    assert (total / count).item() == pytest.approx(done.final_loss, abs=1e-5)
    assert done.final_loss < done.losses[0]
    assert done.trained_parameters == 3 * 2 * (2 * 32 + 2 * 32) - 3 * 2 * (32 - 16)  # v is narrower


def test_the_seed_decides_and_global_state_does_not():
    def train(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(torch.randint(1000, (1,)).item())  # type: ignore[arg-type]
        model = load_model(fresh("llama"))
        return dict(finetune(model, sequences(2), _recipe(), learning_rate=0.05, seed=seed).delta.tensors)

    first, again, other = train(0), train(0), train(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_one_layer_can_be_adapted():
    done = finetune(
        load_model(fresh("llama")), sequences(2), _recipe(parameters="lora_v@1"), learning_rate=0.05, seed=0
    )
    assert list(done.delta.tensors) == ["model.layers.1.self_attn.v_proj.weight"]
