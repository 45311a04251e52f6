"""A random update is as large as finetuning's, tensor by tensor, and nothing else like it."""

from __future__ import annotations

import pytest
import torch
from model_snapshot import assert_as_it_was, fresh, sequences, snapshot

from iclprobe.models.delta import Delta
from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.models.random_update import random_update
from iclprobe.models.recipe import preset


def learned(model: LanguageModel) -> Delta:
    return finetune(model, sequences(), preset("dai"), learning_rate=0.1, seed=0).delta


def change(model: LanguageModel, delta: Delta, name: str) -> torch.Tensor:
    return delta.tensors[name].double() - model.module.get_parameter(name).detach().double()


def test_norms_are_finetunings_and_directions_are_not() -> None:
    model = load_model(fresh("llama"))
    before, delta = snapshot(model.module), learned(model)
    random = random_update(model, delta, 0)
    assert_as_it_was(model.module, before)
    assert list(random.tensors) == list(delta.tensors)
    for name in delta.tensors:
        wanted, got = change(model, delta, name).flatten(), change(model, random, name).flatten()
        assert float(got.norm()) == pytest.approx(float(wanted.norm()), rel=1e-4)
        assert abs(float(torch.cosine_similarity(wanted, got, dim=0))) < 0.15
        # Gaussian: about 68% lie within one standard deviation.
        assert float((got.abs() < got.std()).double().mean()) == pytest.approx(0.68, abs=0.05)


def test_rows_that_finetuning_leaves_alone_are_left_alone() -> None:
    model = load_model(fresh("gpt2"))
    delta = learned(model)
    random = random_update(model, delta, 0)
    weight = "transformer.h.0.attn.c_attn.weight"
    width = model.width
    assert not change(model, random, weight)[:, :width].any()
    assert change(model, random, weight)[:, width:].all()


def test_in_half_precision_the_size_stays_about_the_same() -> None:
    model = load_model(fresh("llama", torch.bfloat16))
    delta = learned(model)
    random = random_update(model, delta, 0)
    for name, tensor in random.tensors.items():
        assert tensor.dtype == torch.bfloat16
        ratio = change(model, random, name).norm() / change(model, delta, name).norm()
        assert float(ratio) == pytest.approx(1, abs=0.15)


def test_the_seed_decides() -> None:
    model = load_model(fresh("llama"))
    delta = learned(model)
    name = next(iter(delta.tensors))
    one, same, other = (random_update(model, delta, seed).tensors[name] for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_tensor_that_did_not_change_stays() -> None:
    model = load_model(fresh("llama"))
    name = "model.layers.0.self_attn.k_proj.weight"
    own = model.module.get_parameter(name).detach()
    assert torch.equal(random_update(model, Delta({name: own.clone()}), 0).tensors[name], own)
