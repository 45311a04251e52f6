"""A model type without a row is laid out as its modules say, if the self-check holds on the model; else refused."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import drawn_weights
import eager_oracle
import pytest
import tiny_decoders
import tiny_families
import torch
from decoder import IDS, LLAMA, VOCABULARY
from eager_oracle import Layout
from expected_rows import EXACT, errors, expected_of
from tiny_decoders import DECODERS
from tiny_families import FAMILIES
from transformers import AutoConfig, AutoModelForCausalLM

import iclprobe.hooks.derivation
from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models import families
from iclprobe.models.derived_family import candidate_families
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.models.weights import open_projections

LINEAR_THEN_FULL = ["linear_attention", "full_attention", "full_attention"]
CONVOLUTION_THEN_FULL = ["conv", "full_attention", "full_attention"]
EXPERTS: dict[str, Any] = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
DELTA: dict[str, Any] = {
    "layer_types": LINEAR_THEN_FULL,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
LATENT: dict[str, Any] = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "first_k_dense_replace": 3,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
}
INDEXED: dict[str, Any] = {
    "index_n_heads": 2,
    "index_head_dim": 8,
    "index_topk": 200,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
}
# What is written down by hand of types that had no row when derivation was built: changes to Llama's configuration,
# where their parts lie, and which layers attend.
WITHOUT_ROW: dict[str, tuple[dict[str, Any], Layout]] = {
    "lfm2": (
        {"layer_types": CONVOLUTION_THEN_FULL, "block_auto_adjust_ff_dim": False},
        Layout("model.layers", "self_attn", "self_attn.out_proj", "feed_forward.w2", (1, 2)),
    ),
    "lfm2_moe": (
        {"layer_types": CONVOLUTION_THEN_FULL, "num_dense_layers": 1} | EXPERTS,
        Layout("model.layers", "self_attn", "self_attn.out_proj", "feed_forward", (1, 2)),
    ),
    "lfm3": (
        {"layer_types": CONVOLUTION_THEN_FULL},
        Layout("model.layers", "self_attn", "self_attn.o_proj", "feed_forward.w2", (1, 2)),
    ),
    "jamba": (
        {
            "num_hidden_layers": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": 3,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_d_state": 4,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
        Layout("model.layers", "self_attn", "self_attn.o_proj", "feed_forward", (1, 3)),
    ),
    "qwen3_next": (
        {"head_dim": 12, "shared_expert_intermediate_size": 24} | EXPERTS | DELTA,
        Layout("model.layers", "self_attn", "self_attn.o_proj", "mlp", (1, 2)),
    ),
    "qwen3_5_text": (
        {"head_dim": 12} | DELTA,
        Layout("model.layers", "self_attn", "self_attn.o_proj", "mlp.down_proj", (1, 2)),
    ),
    "qwen3_5_moe_text": (
        {"head_dim": 12, "shared_expert_intermediate_size": 24} | EXPERTS | DELTA,
        Layout("model.layers", "self_attn", "self_attn.o_proj", "mlp", (1, 2)),
    ),
    "minimax": (
        {"layer_types": LINEAR_THEN_FULL, "head_dim": 8, "num_local_experts": 3, "block_size": 8},
        Layout("model.layers", "self_attn", "self_attn.o_proj", "mlp", (1, 2)),
    ),
    "minimax_m3_vl_text": (
        {
            "head_dim": 8,
            "num_local_experts": 3,
            "num_experts_per_tok": 2,
            "dense_intermediate_size": 48,
            "shared_intermediate_size": 48,
            "index_n_heads": 1,
            "index_head_dim": 8,
        },
        Layout("model.layers", "self_attn", "self_attn.o_proj", "mlp"),
    ),
    "olmo_hybrid": (DELTA, Layout("model.layers", "self_attn", "self_attn.o_proj", "mlp.down_proj", (1, 2))),
    "nemotron_h": (
        {
            "num_hidden_layers": None,
            "layers_block_type": ["mamba", "attention", "mlp", "attention"],
            "head_dim": 8,
            "mamba_num_heads": 4,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 1,
        },
        Layout("model.layers", "mixer", "mixer.o_proj", None, (1, 3)),
    ),
    "recurrent_gemma": (
        {
            "num_hidden_layers": 4,
            "block_types": ["recurrent", "attention"],
            "lru_width": 32,
            "attention_window_size": 8,
            "head_dim": 8,
        },
        Layout("model.layers", "temporal_block", "temporal_block.o_proj", "mlp_block.down_proj", (1, 3)),
    ),
    "falcon_h1": (
        {
            "head_dim": 8,
            "mamba_d_ssm": 32,
            "mamba_n_heads": 4,
            "mamba_d_head": 8,
            "mamba_n_groups": 1,
            "mamba_d_state": 8,
        },
        Layout("model.layers", "self_attn", "self_attn.o_proj", "feed_forward.down_proj"),
    ),
    "deepseek_v32": (
        LATENT | INDEXED,
        Layout("model.layers", "self_attn", "self_attn.o_proj", "mlp.down_proj"),
    ),
    "glm_moe_dsa": (
        LATENT | INDEXED,
        Layout("model.layers", "self_attn", "self_attn.o_proj", "mlp.down_proj"),
    ),
    "kimi_linear": (
        {"layer_types": LINEAR_THEN_FULL, "linear_num_heads": 4, "linear_head_dim": 8, "num_experts": 4}
        | {"num_experts_per_token": 2}
        | {key: value for key, value in LATENT.items() if key != "num_experts_per_tok"},
        Layout("model.layers", "self_attn", "self_attn.o_proj", "mlp.down_proj", (1, 2)),
    ),
}


@pytest.fixture(autouse=True)
def no_rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The table of families is empty, and what a test derives is forgotten behind it."""
    monkeypatch.setattr(families, "_FAMILIES", {})
    monkeypatch.setattr(iclprobe.hooks.derivation, "_held", weakref.WeakKeyDictionary())
    yield


def drawn(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A tiny model of a type, with every weight drawn."""
    centre = drawn_weights._norm_centre
    # A norm with a gate takes two inputs, and multiplies by its weight.
    monkeypatch.setattr(
        drawn_weights,
        "_norm_centre",
        lambda module: 1.0 if "Gated" in type(module).__name__ else centre(module),
    )
    settings = IDS | LLAMA | WITHOUT_ROW[name][0]
    config = AutoConfig.for_model(
        name, **copy.deepcopy({key: value for key, value in settings.items() if value is not None})
    )
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    drawn_weights.draw_weights(model, torch.Generator().manual_seed(sum(name.encode())), VOCABULARY)
    return model


def derived(module: Any) -> LanguageModel:
    with pytest.warns(UserWarning, match="was derived"):
        return load_model(module)


@pytest.mark.parametrize("name", list(WITHOUT_ROW))
def test_captures_of_a_type_without_a_row_equal_the_oracle(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = WITHOUT_ROW[name][1]
    monkeypatch.setitem(eager_oracle.LAYOUTS, name, layout)
    module = drawn(name, monkeypatch)
    model = derived(module)
    assert model.family.derived
    assert tuple(part.index for part in model.parts) == eager_oracle.attending(module)
    sites: Any = ["attention_output", "scores", "pattern", "residual"]
    sites += ["mlp_output"] if layout.mlp_output else []
    ids = tuple(tiny_families.random_ids(17, 4099 + sum(name.encode())))
    got = capture(model, [ids], CapturePlan(sites=tuple(sites), positions="all", columns="all"))
    found = errors(got, 0, expected_of(module, ids), range(len(ids)), slice(0, len(ids)))
    assert found.keys() == set(sites)
    assert max(found.values()) <= EXACT, found
    assert got.manifest["family"] == f"{name} (derived)"


# One or two of each layout, route and way to read head counts; `slow` has all.
SOME = "gpt2 gpt_bigcode gpt_bigcode_multi_head gpt_neox bloom falcon falcon_grouped codegen gptj phi3 opt olmo2 dbrx"
SOME += " bart deepseek_v3 minicpm3 starcoder2 bitnet mimo_v2_flash openai-gpt persimmon"
EVERY = [*FAMILIES, *DECODERS]
REFUSED = {
    "mpt": "padding and batch size change no row",
    "doge": "every layer records every site once",
    "moshi": "hold no attention module with W_Q, W_K and W_V",
    "gemma4_text": "has W_Q and neither W_K nor W_V, or one of them",
    "gemma3n_text": "has W_Q and neither W_K nor W_V, or one of them",
}


def build(name: str) -> Any:
    return (tiny_decoders if name in DECODERS else tiny_families).build(name)


def holds_as_the_row_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = build(name)
    got = derived(module)
    monkeypatch.undo()
    want = load_model(module)
    assert got.family.derived and not want.family.derived
    text = module.config.get_text_config()
    assert got.family.layout_of(text) == want.family.layout_of(text)
    assert got.family.transposed == want.family.transposed
    for one, other in zip(got.parts, want.parts, strict=True):
        assert one.layer is other.layer
        assert one.output_projection is other.output_projection
        assert one.projections == other.projections
        assert got.geometry_of(one.index).sizes == want.geometry_of(one.index).sizes


@pytest.mark.parametrize("name", [name for name in SOME.split() if name in EVERY])
def test_what_is_derived_is_what_the_row_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    holds_as_the_row_does(name, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EVERY if name not in REFUSED and name not in SOME.split()])
def test_what_is_derived_is_what_any_row_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    holds_as_the_row_does(name, monkeypatch)


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_be_derived_is_refused_with_what_was_found(name: str) -> None:
    with pytest.raises(UserError, match=REFUSED[name]) as refusal:
        load_model(build(name))
    assert "register_family" in str(refusal.value)
    assert len(str(refusal.value)) <= 300


def test_attention_twice_a_layer_is_refused_by_the_property_that_fails() -> None:
    config = AutoConfig.for_model("diffllama", **IDS, **LLAMA)
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(UserError, match=r"every layer records every site once .* twice") as refusal:
        load_model(model)
    assert len(str(refusal.value)) <= 300


def test_candidates_are_tried_until_one_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of GPT-NeoX's fused weight the shapes say nothing: blocks of queries, keys and values are tried first."""
    module = build("gpt_neox")
    assert [family.layout for family in candidate_families(module)][:2] == ["thirds", "per_head"]
    assert derived(module).family.layout == "per_head"
    wrong = tuple(family for family in candidate_families(module) if family.layout == "thirds")
    monkeypatch.setattr(iclprobe.hooks.derivation, "candidate_families", lambda _: wrong)
    with pytest.raises(
        UserError, match=r"fails: rows of W_Q, W_K and W_V are those of their heads \(layer 0"
    ):
        load_model(tiny_families.fresh("gpt_neox"))


def test_a_wrong_output_projection_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = tiny_families.fresh("opt")
    wrong = tuple(replace(family, output_projection="v_proj") for family in candidate_families(module))
    monkeypatch.setattr(iclprobe.hooks.derivation, "candidate_families", lambda _: wrong)
    with pytest.raises(UserError, match="fails: the output projection takes what attention gives"):
        load_model(module)


def test_the_check_is_paid_once_and_forgotten_with_the_model(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    module = tiny_families.fresh("llama")
    first = derived(module).family
    monkeypatch.delattr(iclprobe.hooks.derivation, "self_check")
    recwarn.clear()
    assert load_model(module).family is first
    assert not [each for each in recwarn if "derived" in str(each.message)]
    held = iclprobe.hooks.derivation._held
    assert len(held) == 1
    del module
    gc.collect()
    assert len(held) == 0


def test_weights_of_a_live_model_are_read_by_its_derived_row() -> None:
    module = tiny_families.fresh("gpt_neox")
    model = derived(module)
    for place in (model, module):
        with open_projections(place) as file:
            assert next(each.weight.shape[-1] for each in file) == model.width


def test_quantised_weights_cannot_be_checked_and_are_refused() -> None:
    module: Any = tiny_families.fresh("llama")
    for layer in module.model.layers:
        weight = layer.self_attn.k_proj.weight.detach()
        del layer.self_attn.k_proj.weight
        layer.self_attn.k_proj.weight = weight
    with pytest.raises(UserError, match="cannot be checked"):
        load_model(module)
