"""Layer-causal finetuning against loops written out by hand (Bar Natan et al. section 3.4)."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_decoders
import tiny_families
import torch
from model_snapshot import assert_as_it_was, fresh, same_bits, sequences, snapshot

from iclprobe.errors import UserError
from iclprobe.models.finetuning import Finetuning, finetune
from iclprobe.models.loading import load_model
from iclprobe.models.recipe import Recipe, load_recipe
from iclprobe.tasks.prompt_set import TrainingSequence

RATE = 0.02


def _recipe(**changes: Any) -> Recipe:
    return load_recipe({"preset": "barnatan_lcft", "name": "test", **changes})


def _literal(
    training: list[TrainingSequence], updates: str, share: float = 1.0, loss_tokens: str = "all"
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Llama written out: embeddings, layers one by one, final norm and unembedding of each layer's output."""
    module: Any = tiny_families.fresh("llama")
    losses = []
    for sequence in training:
        ids = torch.tensor([sequence.ids])
        positions = torch.arange(ids.shape[1])[None]
        hidden = module.model.embed_tokens(ids).detach()
        rotations = module.model.rotary_emb(hidden, positions)
        first = sequence.label_start if loss_tokens == "label" else 1
        total, pending = 0.0, []
        for layer in module.model.layers:
            trained = [p for n, p in layer.named_parameters() if "k_proj" in n or "v_proj" in n]
            output = layer(hidden, position_embeddings=rotations, attention_mask=None)
            logits = module.lm_head(module.model.norm(output))[0].float()
            loss = torch.zeros(())
            for position in range(first, len(sequence.ids)):
                loss = loss - logits[position - 1].log_softmax(-1)[sequence.ids[position]]
            loss = share * loss / (len(sequence.ids) - first)
            total += loss.item()
            gradients = torch.autograd.grad(loss, trained)
            if updates == "sequential":
                with torch.no_grad():
                    for parameter, gradient in zip(trained, gradients, strict=True):
                        parameter -= RATE * gradient
                    output = layer(hidden, position_embeddings=rotations, attention_mask=None)
            else:
                pending += list(zip(trained, gradients, strict=True))
            hidden = output.detach()
        with torch.no_grad():
            for parameter, gradient in pending:
                parameter -= RATE * gradient
        losses.append(total)
    names = [n for n, _ in module.named_parameters() if "k_proj" in n or "v_proj" in n]
    return {name: module.get_parameter(name).detach() for name in names}, losses


def _assert_equal(result: Finetuning, expected: tuple[dict[str, torch.Tensor], list[float]]) -> None:
    tensors, losses = expected
    assert set(result.delta.tensors) == set(tensors)
    for name, tensor in tensors.items():
        torch.testing.assert_close(result.delta.tensors[name], tensor, rtol=0, atol=1e-6, msg=name)
    assert result.losses == pytest.approx(losses, abs=1e-4)


@pytest.mark.parametrize("updates", ["simultaneous", "sequential"])
@pytest.mark.parametrize("loss_tokens", ["all", "label"])
def test_each_schedule_is_its_literal_transcription(updates: str, loss_tokens: str):
    training = sequences(3)
    recipe = _recipe(layer_updates=updates, loss_tokens=loss_tokens)
    result = finetune(load_model(fresh("llama")), training, recipe, learning_rate=RATE, seed=0)
    _assert_equal(result, _literal(training, updates, loss_tokens=loss_tokens))


def test_the_mean_over_layers_divides_the_sum():
    training = sequences(2)
    result = finetune(
        load_model(fresh("llama")), training, _recipe(layer_reduction="mean"), learning_rate=RATE, seed=0
    )
    _assert_equal(result, _literal(training, "simultaneous", share=1 / 3))


def test_the_two_schedules_differ_above_the_first_layer_and_only_there():
    both = [
        finetune(
            load_model(fresh("llama")),
            sequences(1),
            _recipe(layer_updates=updates),
            learning_rate=RATE,
            seed=0,
        ).delta.tensors
        for updates in ("simultaneous", "sequential")
    ]
    for name in both[0]:
        assert torch.equal(both[0][name], both[1][name]) == (".0." in name), name


def test_a_layers_gradient_is_its_own_losss_alone():
    """Training one layer of three changes it exactly as training all three at once does."""
    training = sequences(1)
    model = load_model(fresh("llama"))
    every = finetune(model, training, _recipe(), learning_rate=RATE, seed=0).delta.tensors
    for layer in range(3):
        alone = finetune(
            model, training, _recipe(parameters=f"attn_kv@{layer}"), learning_rate=RATE, seed=0
        ).delta.tensors
        assert all(f".{layer}." in name for name in alone)
        for name, tensor in alone.items():
            torch.testing.assert_close(tensor, every[name], rtol=0, atol=1e-7, msg=name)


def test_batches_larger_than_a_forward_add_up_and_both_schedules_take_them():
    training = sequences(5)
    for updates in ("simultaneous", "sequential"):
        recipe = _recipe(batch_size=5, layer_updates=updates)
        results = [
            finetune(
                load_model(fresh("llama")), training, recipe, learning_rate=RATE, seed=0, forward_size=size
            )
            for size in (2, 5)
        ]
        for name, tensor in results[0].delta.tensors.items():
            torch.testing.assert_close(tensor, results[1].delta.tensors[name], rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("name", ["gpt2", "gptj", "opt", "bloom", "gemma2", "cohere", "falcon", "mpt"])
@pytest.mark.parametrize("updates", ["simultaneous", "sequential"])
def test_other_families_train_every_layer_and_are_as_they_were_afterwards(name: str, updates: str):
    module = fresh(name)
    before = snapshot(module)
    result = finetune(
        load_model(module), sequences(2), _recipe(layer_updates=updates), learning_rate=1e-3, seed=0
    )
    assert_as_it_was(module, before)
    changed = [name for name, tensor in result.delta.tensors.items() if "weight" in name]
    assert len(changed) >= 3
    assert not any(same_bits(result.delta.tensors[n], module.get_parameter(n).detach()) for n in changed)


def test_the_final_loss_is_the_first_loss_of_the_trained_model():
    training, recipe = sequences(2), _recipe(batch_size=2)
    done = finetune(load_model(fresh("llama")), training, recipe, learning_rate=RATE, seed=0)
    trained = fresh("llama")
    with torch.no_grad():
        for name, tensor in done.delta.tensors.items():
            trained.get_parameter(name).copy_(tensor)
    again = finetune(load_model(trained), training, recipe, learning_rate=RATE, seed=0)
    assert done.final_loss == pytest.approx(again.losses[0], rel=1e-5)
    assert done.final_loss < done.losses[0]


def test_what_lies_outside_the_layers_is_refused():
    model = load_model(fresh("llama"))
    with pytest.raises(
        UserError, match=r"layer-causal finetuning trains decoder layers, and parameters 'all' .*embed_tokens"
    ):
        finetune(model, sequences(2), _recipe(parameters="all"), learning_rate=RATE, seed=0)


def test_every_gradient_that_is_observed_is_of_the_layers_own_loss():
    """Trained and watched parameters alike, added up over forwards, against autograd on layers run one by one."""
    training, seen = sequences(3), {}
    finetune(
        load_model(fresh("llama")),
        training,
        _recipe(batch_size=3),
        learning_rate=RATE,
        seed=0,
        watch="layers",
        observe=lambda step, gradients, tokens: seen.update(
            {name: g.clone() for name, g in gradients.items()}
        ),
        forward_size=2,
    )
    module: Any = tiny_families.fresh("llama")
    tokens = sum(len(sequence.ids) - 1 for sequence in training)
    hidden = [module.model.embed_tokens(torch.tensor([each.ids])).detach() for each in training]
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    expected = {}
    for layer in module.model.layers:
        loss, outputs = torch.zeros(()), []
        for sequence, entering in zip(training, hidden, strict=True):
            rotations = module.model.rotary_emb(entering, torch.arange(len(sequence.ids))[None])
            outputs.append(layer(entering, position_embeddings=rotations, attention_mask=None))
            logits = module.lm_head(module.model.norm(outputs[-1]))[0]
            targets = torch.tensor(sequence.ids[1:])
            loss = loss + torch.nn.functional.cross_entropy(logits[:-1], targets, reduction="sum") / tokens
        parameters = list(layer.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        expected |= {names[id(p)]: gradient for p, gradient in zip(parameters, gradients, strict=True)}
        hidden = [output.detach() for output in outputs]
    assert seen.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(seen[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_what_is_observed_in_half_precision_has_the_size_it_has_in_full():
    """Losses of fp16 models are scaled before they are differentiated; what is seen is not."""
    seen: dict[torch.dtype, dict[str, torch.Tensor]] = {}
    for dtype in (torch.float16, torch.float32):
        gradients = seen.setdefault(dtype, {})
        finetune(
            load_model(fresh("llama", dtype)),
            sequences(1),
            _recipe(),
            learning_rate=1e-4,
            seed=0,
            watch="layers",
            observe=lambda step, observed, tokens, into=gradients: into.update(observed),
        )
    half, full = seen[torch.float16], seen[torch.float32]
    assert half.keys() == full.keys()
    for name, gradient in full.items():
        assert float(half[name].float().norm()) == pytest.approx(float(gradient.norm()), rel=0.05), name


def test_fp16_gradients_that_overflow_with_one_loss_scale_are_those_of_fp32_with_the_next():
    seen: dict[torch.dtype, dict[str, torch.Tensor]] = {}
    for dtype in (torch.float32, torch.float16):
        model = load_model(fresh("llama", dtype))
        with torch.no_grad():
            model.module.get_parameter("model.norm.weight").mul_(64)
            model.module.get_parameter("lm_head.weight").mul_(8)
        gradients = seen.setdefault(dtype, {})
        finetune(
            model,
            sequences(1),
            _recipe(loss_tokens="label"),
            learning_rate=1e-6,
            seed=0,
            observe=lambda step, observed, tokens, into=gradients: into.update(observed),
        )
    full, half = (seen[dtype] for dtype in (torch.float32, torch.float16))
    assert len(full) == len(half) == 6
    # Of every layer's matrices at least this one does not fit into fp16 when it is scaled by 256.
    for layer in range(3):
        largest = float(full[f"model.layers.{layer}.self_attn.v_proj.weight"].abs().max())
        assert 256 * largest > torch.finfo(torch.float16).max > 16 * largest
    for name, gradient in full.items():
        torch.testing.assert_close(
            half[name].float(), gradient, rtol=0.05, atol=0.05 * float(gradient.abs().max())
        )


def test_parameters_that_a_layer_does_not_use_have_no_gradient():
    """Ernie's experts are chosen by a bias that no gradient reaches."""
    unused = "model.layers.1.mlp.gate.moe_statics.e_score_correction_bias"
    for method in ("layer_causal", "joint"):
        seen: dict[str, torch.Tensor] = {}
        finetune(
            load_model(tiny_decoders.fresh("ernie4_5_moe")),
            sequences(1),
            _recipe() if method == "layer_causal" else Recipe(parameters="attn_kv", optimizer="gd"),
            learning_rate=1e-3,
            seed=0,
            watch="layers",
            observe=lambda step, gradients, tokens, into=seen: into.update(gradients),
        )
        assert not seen[unused].any(), method
        assert seen["model.layers.1.self_attn.q_proj.weight"].any(), method
