"""Models whose layers differ: layers of other kinds between, and weights that hold more than one matrix a head."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_decoders
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, Qwen3NextConfig

from iclprobe import sparsity
from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models import families
from iclprobe.models.families import Family, register_family
from iclprobe.models.finetuning_memory import finetuning_bytes
from iclprobe.models.loading import load_model
from iclprobe.models.parameters import select_parameters
from iclprobe.models.recipe import Recipe
from iclprobe.models.weights import open_projections
from iclprobe.tasks.prompt_set import TrainingSequence

IDS = [[5, 9, 33, 21, 7, 40, 12, 3, 18]]


@pytest.fixture
def hybrid(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Linear attention in layers 0 and 2, gated attention in 1 and 3."""
    monkeypatch.setattr(families, "_FAMILIES", dict(families._FAMILIES))
    register_family(Family("qwen3_next", layout="gated", hybrid=True))
    config = Qwen3NextConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        layer_types=["linear_attention", "full_attention"] * 2,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    )
    torch.manual_seed(0)
    yield AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def test_attention_layers_of_a_hybrid_are_captured_and_named(hybrid: Any) -> None:
    model = load_model(hybrid)
    assert model.n_layers == 4
    got = capture(model, IDS, CapturePlan(sites=("pattern",), positions="all", columns="all"))
    assert got.layers == (1, 3)
    with torch.no_grad():
        reported = hybrid(torch.tensor(IDS), output_attentions=True, use_cache=False).attentions
    whole = [each for each in reported if each is not None]
    assert got.pattern is not None and len(whole) == 2
    for place, each in enumerate(whole):
        torch.testing.assert_close(got.pattern[0, place].transpose(0, 1), each[0], atol=1e-6, rtol=1e-5)


def test_a_layer_without_attention_is_refused_by_number(hybrid: Any) -> None:
    model = load_model(hybrid)
    with pytest.raises(UserError, match=r"layer 2 .* no attention to capture: those with attention are 1, 3"):
        capture(model, IDS, CapturePlan(layers=(2,)))
    with pytest.raises(UserError, match="those with attention are 1, 3"):
        select_parameters(model, "attn_v@0")
    assert capture(model, IDS, CapturePlan(layers=(-1,))).layers == (3,)


def test_queries_that_share_their_weight_with_a_gate_are_trained_alone(hybrid: Any) -> None:
    (piece,) = select_parameters(load_model(hybrid), "attn_q@1")
    assert piece.name == "model.layers.1.self_attn.q_proj.weight" and piece.rows is not None
    assert piece.rows.tolist() == [24 * head + entry for head in range(4) for entry in range(12)]


def test_weights_of_a_hybrid_are_those_of_its_attention_layers(hybrid: Any) -> None:
    with open_projections(hybrid) as file:
        assert {layer for layer, _ in file.keys} == {1, 3}
        query = file.read(3, "query").weight
    held = hybrid.model.layers[3].self_attn.q_proj.weight.detach()
    assert torch.equal(query, held.view(4, 2, 12, 32)[:, 0].reshape(48, 32))


def test_latent_keys_and_values_are_told_apart_head_by_head() -> None:
    model: Any = tiny_decoders.build("deepseek_v3")
    config = model.config
    held = model.model.layers[1].self_attn.kv_b_proj.weight.detach()
    heads = held.view(config.num_attention_heads, -1, config.kv_lora_rank)
    with open_projections(model) as file:
        key, value = file.read(1, "key").weight, file.read(1, "value").weight
    assert torch.equal(key, heads[:, : config.qk_nope_head_dim].reshape(-1, config.kv_lora_rank))
    assert torch.equal(value, heads[:, config.qk_nope_head_dim :].reshape(-1, config.kv_lora_rank))
    slices = {piece.name: piece for piece in select_parameters(load_model(model), "attn_v")}
    rows = slices["model.layers.1.self_attn.kv_b_proj.weight"].rows
    assert rows is not None and torch.equal(held[rows], value)


def test_the_width_of_latent_attention_is_that_of_the_residual_stream() -> None:
    model: Any = tiny_decoders.build("deepseek_v3")
    assert model.config.kv_lora_rank != model.config.hidden_size
    assert set(sparsity(model).tables["matrices"]["width"]) == {model.config.hidden_size}


@pytest.mark.parametrize(("name", "lost"), [("gemma4_text", "k_proj"), ("gemma3n_text", "v_proj")])
def test_a_lost_weight_is_not_taken_for_a_shared_one(name: str, lost: str, tmp_path: Path) -> None:
    model: Any = tiny_decoders.build(name)
    kept = {key: value.contiguous() for key, value in model.state_dict().items() if "lm_head" not in key}
    del kept[f"model.layers.0.self_attn.{lost}.weight"]
    save_file(kept, tmp_path / "model.safetensors")
    model.config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"holds no (key|value) weight of layer 0"):
        open_projections(tmp_path)


def test_memory_is_foreseen_where_each_layer_has_a_width_of_its_own() -> None:
    model = load_model(tiny_decoders.build("gemma3n_text"))
    sequence = TrainingSequence((5, 6, 7, 8), 3)
    assert finetuning_bytes(model, Recipe(), [sequence]) > 0


def test_layers_that_take_keys_from_below_have_queries_alone() -> None:
    model = load_model(tiny_decoders.build("gemma4_text"))
    alone = [part.index for part in model.parts if "key" not in part.projections]
    assert alone
    with open_projections(model.module) as file:
        assert {(layer, "key") for layer in alone}.isdisjoint(file.keys)
        assert {(layer, "query") for layer in alone} <= set(file.keys)
