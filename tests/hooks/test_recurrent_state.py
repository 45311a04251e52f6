"""Families that keep a state besides keys and values: nothing that stands behind a prompt runs on a used state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache, FalconH1Config, FalconH1ForCausalLM
from transformers.cache_utils import DYNAMIC_LAYER_TYPE_MAPPING, DynamicLayer, DynamicSlidingWindowLayer

import iclprobe
from iclprobe.hooks.plan import CapturePlan
from iclprobe.hooks.prefix import can_fork, encode_prefix
from iclprobe.models.loading import load_model
from iclprobe.tasks.prompts import PromptSet

VOCABULARY = 97
PREFIX = tuple(range(3, 20))
QUERIES = ((40, 41, 42, 43, 44), (50, 51), (60, 61, 62, 63, 64, 65, 66), (70, 71))
OPTIONS = ((5, 6, 7), (5, 6, 8), (5,), (9, 6, 7, 8))
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "mamba_d_ssm": 32,
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_chunk_size": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.fixture
def model() -> Any:
    """A Falcon-H1, whose layers have attention and a state-space mixer side by side."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = FalconH1ForCausalLM(FalconH1Config(**_SIZES)).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return module


def logprobs(model: Any, text: tuple[int, ...]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([text]), use_cache=False).logits[0].log_softmax(-1)


def test_a_cache_of_this_family_is_overwritten_by_what_runs_on_it(model: Any) -> None:
    """Why no cache of it is shared: transformers writes the state of what comes next into the same tensors."""
    with torch.no_grad():
        cache = model(torch.tensor([PREFIX]), use_cache=True).past_key_values
        state = cache.layers[0].recurrent_states[0]
        before = state.clone()
        model(torch.tensor([[90]]), past_key_values=cache)
    assert not torch.equal(state, before)
    assert not can_fork(cache)


def test_only_caches_of_keys_and_values_are_shared() -> None:
    class Unknown(DynamicCache):
        """A cache that may hold anything."""

    layers = {kind: layer for kind, layer in DYNAMIC_LAYER_TYPE_MAPPING.items() if "compressed" not in kind}
    forkable = set()
    for layer in layers.values():
        cache = DynamicCache()
        cache.layers = [DynamicLayer(), layer(sliding_window=4)]
        if can_fork(cache):
            forkable.add(layer)
    assert forkable == {DynamicLayer, DynamicSlidingWindowLayer}
    assert can_fork(DynamicCache())
    assert not can_fork(Unknown())
    assert not can_fork(None)


@pytest.mark.parametrize("positions", ["last_prompt_token", "first_label_token"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_labels_of_several_tokens(model: Any, positions: Any, shared: bool, batch_size: int) -> None:
    prompts = PromptSet(PREFIX, QUERIES, (OPTIONS,) * len(QUERIES), (0,) * len(QUERIES))
    plan = CapturePlan(positions=positions)
    got: Any = iclprobe.capture(model, prompts, plan, share_prefix=shared, batch_size=batch_size)
    assert got.manifest["prefix_shared"] is False
    for index, query in enumerate(QUERIES):
        prompt = PREFIX + query
        said = logprobs(model, prompt)[-1]
        assert got.top_logprobs[index].tolist() == pytest.approx(said.topk(10).values.tolist(), abs=2e-4)
        for option, ids in enumerate(OPTIONS):
            each = logprobs(model, prompt + ids)[len(prompt) - 1 : -1]
            want = sum(each[step, token].item() for step, token in enumerate(ids)) / len(ids)
            assert got.label_logprobs[index, option].item() == pytest.approx(want, abs=2e-4)


def test_attention_is_captured_behind_a_prefix_and_in_padded_batches(model: Any) -> None:
    seen: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.self_attn.o_proj.register_forward_hook(lambda _, __, output: seen.append(output.detach()))
    want = []
    for query in QUERIES:
        seen.clear()
        logprobs(model, PREFIX + query)
        want.append(torch.stack([output[0, -1] for output in seen]))
    got: Any = iclprobe.capture(model, PromptSet(PREFIX, QUERIES))
    torch.testing.assert_close(got.attention_output, torch.stack(want), atol=1e-5, rtol=1e-4)
    assert encode_prefix(load_model(model), PREFIX) is None
    assert iclprobe.self_check(model).held
