"""Layers below the first trained one run once, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from model_snapshot import fresh, one_by_one_nll, sequences

from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import load_model
from iclprobe.models.parameters import first_trained_layer
from iclprobe.models.recipe import Recipe, load_recipe, preset

FAMILIES = ["llama", "gpt2", "gptj", "opt", "bloom", "gemma3_text", "mpt", "falcon_alibi"]


@pytest.mark.parametrize("name", FAMILIES)
def test_losses_and_parameters_are_those_of_a_plain_loop(name: str):
    """The plain loop runs the whole model, one demonstration a forward, in every epoch."""
    training = sequences(3)
    model = load_model(fresh(name))
    recipe = Recipe(optimizer="gd", epochs=4, parameters="attn_v@-1", loss_tokens="label")
    result = finetune(model, training, recipe, learning_rate=0.05, seed=0)
    module: Any = fresh(name)
    trained = {n: module.get_parameter(n) for n in result.delta.tensors}
    before = {n: p.detach().clone() for n, p in trained.items()}
    losses = []
    for _ in range(4):
        total, count = one_by_one_nll(module, training, "label")
        losses.append((total / count).item())
        gradients = torch.autograd.grad(total / count, list(trained.values()))
        with torch.no_grad():
            for (n, parameter), gradient in zip(trained.items(), gradients, strict=True):
                # Of a fused weight the other rows stay.
                moves = result.delta.tensors[n] != before[n]
                parameter -= 0.05 * gradient * moves
    assert result.losses == pytest.approx(losses, abs=1e-5)
    for n, parameter in trained.items():
        torch.testing.assert_close(result.delta.tensors[n], parameter.detach(), rtol=0, atol=1e-6, msg=n)


def test_frozen_layers_run_once_for_all_epochs():
    module = fresh("llama")
    runs = [0, 0, 0]
    for index, layer in enumerate(module.model.layers):
        layer.mlp.register_forward_hook(lambda *_, index=index: runs.__setitem__(index, runs[index] + 1))
    recipe = Recipe(optimizer="gd", epochs=10, parameters="attn_v@2", loss_tokens="label")
    finetune(load_model(module), sequences(3), recipe, learning_rate=0.01, seed=0)
    look = 1  # one token, to see what layers return
    assert runs[:2] == [look + 1, look + 1]
    assert runs[2] == look + 10 + 1  # every epoch, and the final loss


def test_shuffled_batches_reuse_what_was_kept():
    training = sequences(5)
    recipe = Recipe(batch_size=2, shuffle=True, epochs=3, parameters="attn_kv@1")
    reused = finetune(load_model(fresh("llama")), training, recipe, learning_rate=0.02, seed=3)
    watched = finetune(
        load_model(fresh("llama")), training, recipe, learning_rate=0.02, seed=3, watch="layers"
    )
    for name, tensor in reused.delta.tensors.items():
        torch.testing.assert_close(tensor, watched.delta.tensors[name], rtol=0, atol=1e-6, msg=name)
    assert reused.losses == pytest.approx(watched.losses, abs=1e-6)


def test_the_first_trained_layer_is_read_off_the_recipe():
    model = load_model(fresh("llama"))
    assert first_trained_layer(model, preset("dai")) == 0
    assert first_trained_layer(model, preset("shen")) == 0
    assert first_trained_layer(model, load_recipe({"parameters": "attn_v@-1"})) == 2
    assert first_trained_layer(model, preset("shen_deep")) == 2
    assert first_trained_layer(model, load_recipe({"parameters": r"layers\.[12]\."})) == 1
    assert first_trained_layer(model, load_recipe({"parameters": "lora_qv@1"})) == 1
    assert first_trained_layer(model, load_recipe({"parameters": "embed_tokens|layers.2"})) == 0
