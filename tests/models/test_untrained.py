"""An untrained copy keeps what is around the layers and nothing that was learned in them."""

from __future__ import annotations

import pytest
import tiny_families
import torch
from model_snapshot import assert_as_it_was, fresh, same_bits, snapshot

from iclprobe.models.loading import load_model
from iclprobe.models.untrained import untrained_copy

NORMS = ("norm", "ln_")


@pytest.mark.parametrize("name", list(tiny_families.FAMILIES))
def test_embeddings_norms_and_head_stay_and_the_rest_is_drawn_anew(name: str) -> None:
    model = load_model(fresh(name))
    before = snapshot(model.module)
    copy = untrained_copy(model, 0)
    assert_as_it_was(model.module, before)
    spread = getattr(model.module.config, "initializer_range", 0.02)
    layers = tuple(f"{prefix}.{index}." for prefix in model.family.layers for index in range(model.n_layers))
    for parameter_name, parameter in copy.module.named_parameters():
        old = before.tensors[parameter_name]
        assert parameter.data_ptr() != before.addresses[parameter_name]
        is_norm = any(mark in parameter_name for mark in NORMS)
        if is_norm or not parameter_name.startswith(layers):
            assert same_bits(parameter.detach(), old), parameter_name
        elif parameter_name.endswith(("bias", "sinks")):
            assert not parameter.any(), parameter_name
        else:
            assert not torch.isclose(parameter, old).float().mean() > 0.1, parameter_name
            assert float(parameter.detach().std()) == pytest.approx(spread, rel=0.15), parameter_name


def test_tied_weights_stay_tied_and_the_model_runs() -> None:
    copy = untrained_copy(load_model(fresh("gpt2")), 0)
    assert copy.module.get_output_embeddings().weight is copy.module.get_input_embeddings().weight  # type: ignore[union-attr]
    assert copy.module(torch.tensor([[1, 2, 3]])).logits.isfinite().all()


def test_the_seed_decides_whatever_the_dtype() -> None:
    model, half = load_model(fresh("llama")), load_model(fresh("llama", torch.bfloat16))
    name = "model.layers.1.mlp.down_proj.weight"
    state = torch.get_rng_state()
    copies = [untrained_copy(each, seed) for each, seed in ((model, 0), (model, 1), (half, 0))]
    drawn = [copy.module.get_parameter(name) for copy in copies]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(drawn[0], untrained_copy(model, 0).module.get_parameter(name))
    assert not torch.isclose(drawn[0], drawn[1]).any()
    assert torch.equal(drawn[2], drawn[0].to(torch.bfloat16))


def test_the_spread_is_the_configurations() -> None:
    module = fresh("opt")
    module.config.init_std = 0.5
    copy = untrained_copy(load_model(module), 0)
    weight = copy.module.get_parameter("model.decoder.layers.0.fc1.weight")
    assert float(weight.detach().std()) == pytest.approx(0.5, rel=0.1)
