"""Layers on the inputs of another run: layer by layer by hand, in every family, whatever stands around the query."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_decoders
import torch
from tiny_families import FAMILIES, build, prefix, random_ids
from torch import Tensor

from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.given_inputs import outputs_on_inputs
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models.loading import load_model
from iclprobe.tasks.prompt_set import PromptSet

STREAM = CapturePlan(sites=("residual_before",), positions="all")
OUTPUT = CapturePlan(sites=("attention_output",))
HYBRIDS = ("qwen3_next", "olmo_hybrid", "jamba", "lfm2", "nemotron_h", "recurrent_gemma")
MORE_THAN_ONE = ("gemma3n_text", "gemma4_text", "gemma4_unified_text")


def prompt_sets(name: str, frame: int = 3) -> tuple[PromptSet, PromptSet]:
    """Queries of several lengths behind a frame of some tokens alone, and behind demonstrations too."""
    queries = tuple(tuple(random_ids(length, length)) for length in (13, 9, 13, 17))
    front = tuple(prefix(name, length=frame)) if frame else ()
    return PromptSet(front, queries), PromptSet(front + tuple(prefix(name, seed=3, length=20)), queries)


def rotated(tensor: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = tensor.shape[-1] // 2
    return tensor * cos + torch.cat([-tensor[..., half:], tensor[..., :half]], dim=-1) * sin


def by_hand(module: Any, zero_shot: tuple[int, ...], icl: tuple[int, ...], frame: int) -> list[Tensor]:
    """A llama's attention output at the last token, each layer on its input in context, demonstrations left out."""
    found = []
    streams = [
        module.model(torch.tensor([ids]), output_hidden_states=True).hidden_states for ids in (zero_shot, icl)
    ]
    heads, groups = module.config.num_attention_heads, module.config.num_key_value_heads
    width = module.config.hidden_size // heads
    query = len(zero_shot) - frame
    for number, layer in enumerate(module.model.layers):
        rows = torch.cat([streams[0][number][0, :frame], streams[1][number][0, -query:]])
        given = layer.input_layernorm(rows)
        turns = module.model.rotary_emb(given[None], torch.arange(len(rows))[None])
        attention = layer.self_attn
        queries = rotated(attention.q_proj(given).view(-1, heads, width).transpose(0, 1), *turns)
        keys = rotated(attention.k_proj(given).view(-1, groups, width).transpose(0, 1), *turns)
        values = attention.v_proj(given).view(-1, groups, width).transpose(0, 1)
        mixed = []
        for head in range(heads):
            group = head * groups // heads
            weights = (queries[head, -1] @ keys[group].T / width**0.5).softmax(-1)
            mixed.append(weights @ values[group])
        found.append(attention.o_proj(torch.cat(mixed)))
    return found


@torch.no_grad()
@pytest.mark.parametrize("frame", [0, 1, 3])
def test_every_layer_is_that_of_a_layer_by_hand(frame: int) -> None:
    model, (zero_shot, icl) = load_model(build("llama")), prompt_sets("llama", frame)
    inputs = capture(model, icl, STREAM)
    assert inputs.residual_before is not None
    found = outputs_on_inputs(
        model, zero_shot, inputs.residual_before, layers=inputs.layers, first=len(zero_shot.prefix_ids)
    )
    apart = capture(model, zero_shot, OUTPUT, share_prefix=False).attention_output
    assert apart is not None
    for index in range(zero_shot.n):
        oracle = by_hand(model.module, zero_shot.full_ids(index), icl.full_ids(index), frame)
        for layer, wanted in enumerate(oracle):
            assert torch.allclose(found[index, layer], wanted, atol=2e-5, rtol=1e-5)
    assert torch.equal(found[:, 0], apart[:, 0]) and not torch.allclose(found[:, 1:], apart[:, 1:], atol=1e-2)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in MORE_THAN_ONE])
def test_a_runs_own_inputs_give_its_own_outputs_in_any_bit(name: str) -> None:
    model, (zero_shot, _) = load_model(build(name)), prompt_sets(name)
    whole = PromptSet((), tuple(zero_shot.full_ids(index) for index in range(zero_shot.n)))
    own = capture(model, whole, STREAM, batch_size=8)
    outputs = capture(model, whole, OUTPUT, batch_size=8).attention_output
    assert own.residual_before is not None and outputs is not None
    found = outputs_on_inputs(model, whole, own.residual_before, layers=own.layers)
    assert torch.equal(found, outputs)


@pytest.mark.parametrize("name", HYBRIDS)
def test_layers_of_another_kind_between_those_with_attention_make_no_difference(name: str) -> None:
    """Attention layers have the inputs that they are given, whatever stands between them."""
    model, (zero_shot, icl) = load_model(tiny_decoders.build(name)), prompt_sets(name)
    assert len(model.parts) < model.n_layers
    inputs = capture(model, icl, STREAM)
    assert inputs.residual_before is not None
    first = len(zero_shot.prefix_ids)
    every = outputs_on_inputs(model, zero_shot, inputs.residual_before, layers=inputs.layers, first=first)
    for place, layer in enumerate(inputs.layers):
        alone = outputs_on_inputs(
            model, zero_shot, inputs.residual_before[:, [place]], layers=(layer,), first=first
        )
        assert torch.equal(alone[:, place], every[:, place])
    whole = PromptSet((), tuple(zero_shot.full_ids(index) for index in range(zero_shot.n)))
    own, outputs = (capture(model, whole, plan, batch_size=8) for plan in (STREAM, OUTPUT))
    assert own.residual_before is not None and outputs.attention_output is not None
    found = outputs_on_inputs(model, whole, own.residual_before, layers=own.layers)
    assert torch.equal(found, outputs.attention_output)


def test_a_layer_that_is_not_given_its_input_keeps_its_own() -> None:
    model, (zero_shot, icl) = load_model(build("llama")), prompt_sets("llama")
    inputs = capture(model, icl, STREAM).residual_before
    assert inputs is not None
    first = len(zero_shot.prefix_ids)
    every = outputs_on_inputs(model, zero_shot, inputs, layers=(0, 1, 2), first=first)
    some = outputs_on_inputs(model, zero_shot, inputs[:, 2:], layers=(2,), first=first)
    own = capture(model, zero_shot, OUTPUT, share_prefix=False).attention_output
    assert own is not None
    assert torch.equal(some[:, 2], every[:, 2]) and torch.allclose(some[:, :2], own[:, :2], atol=1e-6)
    none = outputs_on_inputs(model, zero_shot, inputs[:, :0], layers=(), first=first)
    assert torch.allclose(none, own, atol=1e-6)


def test_layers_that_read_more_than_one_stream_are_refused() -> None:
    for name in MORE_THAN_ONE:
        module = build(name) if name in FAMILIES else tiny_decoders.build(name)
        model = load_model(module)
        with pytest.raises(UserError, match="read more than one residual stream"):
            outputs_on_inputs(model, PromptSet((), ((3, 4),)), torch.zeros(1, 1, 2, 8), layers=(0,))
