"""The newer sites behind caches, under other configurations, attentions, adapters and dtypes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import eager_oracle
import pytest
import sites_oracle
import tiny_families
import torch
from drawn_weights import draw_weights
from made_adapters import live
from recorded_sites import (
    EVERY,
    NEW,
    OF_HEADS,
    alone,
    build,
    close,
    first,
    ids_of,
    layers_of,
    mlp_module,
    prompts_of,
    recorded,
)
from torch import Tensor
from transformers import AutoModelForCausalLM, StaticCache

from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.hooks.tap import tap
from iclprobe.models.loading import load_model
from iclprobe.tasks.prompts import PromptSet


def variant(name: str, **changes: Any) -> Any:
    """A tiny model whose configuration is changed."""
    config = tiny_families.FAMILIES[name]()
    for key, value in changes.items():
        setattr(config, key, value)
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    draw_weights(model, torch.Generator().manual_seed(17), tiny_families.VOCABULARY)
    return model


SEQUENTIAL: list[tuple[str, dict[str, Any], Callable[[Any, Tensor], Tensor]]] = [
    ("gpt_neox", {"use_parallel_residual": False}, lambda layer, middle: middle),
    (
        "bloom",
        {"apply_residual_connection_post_layernorm": True},
        lambda layer, middle: middle,
    ),
    ("opt", {"do_layer_norm_before": False}, lambda layer, middle: layer.final_layer_norm(middle)),
]


@pytest.mark.parametrize(("name", "changes", "written"), SEQUENTIAL, ids=[each[0] for each in SEQUENTIAL])
def test_a_configuration_decides_where_the_stream_between_is(name: str, changes: Any, written: Any) -> None:
    model, ids = variant(name, **changes), ids_of(name)
    plan = CapturePlan(sites=("residual_middle", "mlp_input"), positions="all")
    got: Any = capture(model, first(name), plan)
    path: Any = eager_oracle.layout_of(model).mlp_output
    for place, _, module in layers_of(name, model):
        left = sites_oracle.layer_with_silent(model, ids, place, [path])
        with torch.no_grad():
            assert close(left, written(module, got.residual_middle[0, place]))
        assert sites_oracle.mlp_feels_attention(model, ids, place, mlp_module(name, path))


@pytest.mark.parametrize("name", ["falcon", "falcon_alibi", "llama", "gpt2", "gpt_bigcode", "mistral"])
def test_eager_attention_gives_what_the_default_gives(name: str) -> None:
    """Falcon's own product of queries and keys, where by default it calls dot-product attention."""
    model: Any = EVERY[name].fresh(name)
    model.set_attn_implementation("eager")
    got = recorded(name, model, first(name))[0]
    for site in OF_HEADS:
        # Falcon adds its position bias otherwise where it is eager: layers above see other streams.
        for layer in (0,) if name == "falcon_alibi" else (0, 1, 2):
            assert close(got[site, layer], alone(name)[site, layer])


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt_oss", "gptj", "bloom", "xglm", "falcon"])
def test_a_forward_behind_a_cache_gives_its_own_tokens(name: str) -> None:
    model, ids = build(name), ids_of(name)
    plan = CapturePlan(sites=(*OF_HEADS, "head_output", "residual_before"), positions="all")
    with tap(model, plan) as recorder, torch.no_grad():
        cache = model(input_ids=torch.tensor([ids[:-3]]), use_cache=True).past_key_values
        for token in ids[-3:]:
            model(
                input_ids=torch.tensor([[token]]),
                past_key_values=cache,
                attention_mask=torch.ones(1, cache.get_seq_length() + 1, dtype=torch.long),
            )
    whole = alone(name)
    for step, recording in enumerate(recorder.recordings[1:]):
        for site in plan.sites:
            for layer in range(len(eager_oracle.attending(model))):
                row = len(ids) - 3 + step
                assert close(recording[site][0, layer], whole[site, layer][row : row + 1]), (site, layer)


def test_a_cache_of_fixed_size_gives_the_keys_of_the_tokens_and_not_of_its_room() -> None:
    model, ids = build("llama"), ids_of("llama")
    plan = CapturePlan(sites=OF_HEADS, positions="all")
    with tap(model, plan) as recorder, torch.no_grad():
        model(input_ids=torch.tensor([ids]), past_key_values=StaticCache(model.config, max_cache_len=80))
    for site in OF_HEADS:
        for layer in range(3):
            assert close(recorder.recordings[0][site][0, layer], alone("llama")[site, layer])


def test_positions_and_layers_are_those_asked_for() -> None:
    model, prompts = build("qwen2"), prompts_of("qwen2")
    whole = recorded("qwen2", model, prompts)
    asked: list[tuple[Any, list[int]]] = [("last_prompt_token", [-1]), ((0, 4, -1), [0, 4, -1])]
    for positions, rows in asked:
        got: Any = capture(model, prompts, CapturePlan(sites=NEW, layers=(2, 0), positions=positions))
        for site in NEW:
            for index in range(prompts.n):
                for place, layer in enumerate((2, 0)):
                    found = getattr(got, site)[index, place].reshape(len(rows), -1)
                    wanted = whole[index][site, layer][rows].reshape(len(rows), -1)
                    assert close(found, wanted), (site, positions)


def test_heads_add_up_under_an_adapter_that_acts_on_the_output_projection() -> None:
    from peft import LoraConfig

    module: Any = live(tiny_families.fresh("llama"), LoraConfig(r=2, target_modules=["o_proj"]))
    inner = module.get_base_model()
    plan = CapturePlan(sites=("head_output", "attention_output"), positions="all")
    got: Any = capture(module, first("llama"), plan)
    assert close(got.head_output.sum(dim=3), got.attention_output)
    with module.disable_adapter():
        without: Any = capture(inner, first("llama"), plan)
    assert close(without.head_output.sum(dim=3), without.attention_output)
    assert not close(without.attention_output, got.attention_output)


def test_heads_add_up_in_half_precision_as_far_as_that_goes() -> None:
    model: Any = tiny_families.fresh("gpt2")
    model.bfloat16()
    got: Any = capture(model, first("gpt2"), CapturePlan(sites=("head_output", "attention_output")))
    biases = torch.stack([block.attn.c_proj.bias for block in model.transformer.h]).detach().float()
    error = (got.head_output.sum(dim=2) + biases - got.attention_output).abs().max()
    assert error <= 1e-2 * got.attention_output.abs().max()


def test_a_projection_that_rounds_its_input_is_refused_by_name() -> None:
    class Rounding(torch.nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input.round(decimals=1))

    model: Any = tiny_families.fresh("llama")
    model.model.layers[1].self_attn.o_proj.__class__ = Rounding
    with pytest.raises(UserError, match=r"output projection of layer 1 \(Rounding\) is no plain linear map"):
        capture(model, first("llama"), CapturePlan(sites=("head_output",)))


def test_a_row_that_does_not_name_the_norm_refuses_the_stream_between() -> None:
    model = load_model(tiny_families.fresh("llama"))
    silent = replace(model, family=replace(model.family, before_mlp=""))
    with pytest.raises(UserError, match=r"row of family 'llama' does not say .*before_mlp"):
        capture(silent, first("llama"), CapturePlan(sites=("residual_middle",)))


def test_every_token_of_a_prompt_has_its_queries_keys_and_values() -> None:
    """Those of the prefix too, and of a shorter prompt as many as it has."""
    model, ids = build("llama"), ids_of("llama")
    plan = CapturePlan(sites=OF_HEADS, positions="prompt")
    got: Any = capture(model, PromptSet(ids[:7], (ids[7:], ids[7:-4]), (), ()), plan)
    assert got.rows.sum(dim=1).tolist() == [len(ids), len(ids) - 4]
    for site in OF_HEADS:
        for layer in range(3):
            assert close(getattr(got, site)[0, layer], alone("llama")[site, layer])
            assert close(getattr(got, site)[1, layer, : len(ids) - 4], alone("llama")[site, layer][:-4])
