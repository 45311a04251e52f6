"""Attention to a shared prefix and to own tokens apart is attention to both, and the prefix is never copied."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_decoders
import tiny_families
import torch
from expected_rows import EXACT, prompt_set
from torch import Tensor

from iclprobe import capture, load_model, patch
from iclprobe.hooks import prefix_attention
from iclprobe.hooks.forward import run_forward
from iclprobe.hooks.layer_behind_prefix import LayerBehindPrefix
from iclprobe.hooks.plan import CapturePlan
from iclprobe.hooks.prefix import encode_prefix, fork
from iclprobe.hooks.prefix_attention import attend_behind_prefix

APART = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "gpt_neox", "gpt2", "phi3", "gpt_oss")
B, HEADS, KV, S, P, D = 3, 4, 2, 5, 11, 8


def given(dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "query": draw(B, HEADS, S, D),
        "key": draw(B, KV, S, D),
        "value": draw(B, KV, S, D),
        "prefix_key": draw(1, KV, P, D),
        "prefix_value": draw(1, KV, P, D),
    }


def literal(
    arrays: dict[str, Tensor],
    visible: Tensor,
    bias: Tensor | None = None,
    scaling: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """One query head and row after the other: scores over all keys, softmax, mixture."""
    query = arrays["query"].double()
    output = torch.zeros(B, S, HEADS, D, dtype=torch.float64)
    for b in range(B):
        for head in range(HEADS):
            kv = head // (HEADS // KV)
            keys = torch.cat([arrays["prefix_key"][0, kv], arrays["key"][b, kv]]).double()
            values = torch.cat([arrays["prefix_value"][0, kv], arrays["value"][b, kv]]).double()
            for row in range(S):
                scores = keys @ query[b, head, row] * (D**-0.5 if scaling is None else scaling)
                if softcap is not None:
                    scores = softcap * torch.tanh(scores / softcap)
                if bias is not None:
                    scores = scores + bias[b, min(head, bias.shape[1] - 1), row]
                seen = visible[b, min(head, visible.shape[1] - 1), row]
                if not seen.any():
                    continue
                scores = scores.masked_fill(~seen, float("-inf"))
                if sinks is not None:
                    scores = torch.cat([scores, sinks[head].double()[None]])
                output[b, row, head] = torch.softmax(scores, 0)[: len(keys)] @ values
    return output


def causal(heads: int = 1) -> Tensor:
    own = torch.ones(S, S, dtype=torch.bool).tril()
    return torch.cat([torch.ones(S, P, dtype=torch.bool), own], dim=1).expand(B, heads, -1, -1).clone()


def windowed() -> Tensor:
    """Rows see four keys; of the second query the last two tokens are padding, which is hidden."""
    visible, row = causal(), torch.arange(S)[:, None] + P
    visible &= torch.arange(P + S) > row - 4
    visible[1, :, :, -2:] = False
    return visible


@pytest.mark.parametrize("size", [1, 1 << 23], ids=["query-by-query", "at-once"])
@pytest.mark.parametrize("kind", ["bool", "float", "by-head", "window", "bias", "none"])
def test_both_parts_are_one_softmax(kind: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_attention, "_MOST_SCORES", size)
    arrays, visible, bias = given(), causal(), None
    if kind == "window":
        visible = windowed()
    mask: Any = visible
    if kind == "by-head":
        visible = causal(HEADS)
        visible[:, 1, :, :3] = False
        mask = visible
    elif kind == "float":
        mask = torch.zeros(visible.shape, dtype=torch.float64).masked_fill(~visible, -1e300)
    elif kind == "bias":
        bias = torch.randn(B, HEADS, S, P + S, dtype=torch.float64)
        mask = bias.masked_fill(~visible, float("-inf"))
    elif kind == "none":
        mask = None
    got = attend_behind_prefix(
        **arrays, mask=mask, whole_prefix=kind in ("bool", "float", "none"), scaling=0.3
    )
    assert got.shape == (B, S, HEADS, D)
    torch.testing.assert_close(got, literal(arrays, visible, bias, scaling=0.3), atol=1e-12, rtol=0)


@pytest.mark.parametrize("visible", [causal(), windowed()], ids=["causal", "window"])
def test_caps_and_sinks_take_part(visible: Tensor) -> None:
    arrays, sinks = given(), torch.tensor([0.3, -2.0, 4.0, 1.0])
    got = attend_behind_prefix(**arrays, mask=visible, whole_prefix=False, softcap=0.7, sinks=sinks)
    torch.testing.assert_close(got, literal(arrays, visible, softcap=0.7, sinks=sinks), atol=1e-12, rtol=0)


def test_a_row_that_sees_nothing_gives_zeros() -> None:
    visible = windowed()
    visible[0, :, 2] = False
    got = attend_behind_prefix(**given(), mask=visible, whole_prefix=False)
    assert not got[0, 2].any() and bool(got.isfinite().all())


def test_values_of_another_width_than_the_keys() -> None:
    arrays = given()
    arrays["value"], arrays["prefix_value"] = arrays["value"][..., :6], arrays["prefix_value"][..., :6]
    got = attend_behind_prefix(**arrays, mask=causal(), whole_prefix=True)
    wide = given()
    expected = literal(wide, causal())[..., :6]
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "formed"])
def test_precision_is_the_dtypes(dtype: torch.dtype, fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are formed where torch's fused call is not there; both are as exact as their dtype."""
    if not fused:
        monkeypatch.setattr(prefix_attention, "_fused", None)
    arrays = given(dtype)
    got = attend_behind_prefix(**arrays, mask=causal(), whole_prefix=True)
    assert got.dtype == dtype
    expected = literal(arrays, causal())
    assert (got.double() - expected).abs().max() < 4 * torch.finfo(dtype).eps * expected.abs().max()


@pytest.mark.parametrize("name", APART)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_these_families_never_copy_the_prefix(name: str, attention: str) -> None:
    module: Any = tiny_families.fresh(name)
    if attention == "eager" or module._supports_sdpa:
        module.set_attn_implementation(attention)
    model, prompts = load_model(module), prompt_set(name)
    prefix = encode_prefix(model, prompts.prefix_ids)
    assert prefix is not None and prefix.copied is None
    plan = CapturePlan(sites=("attention_output",))
    got: Any = capture(model, prompts, plan)
    assert got.manifest["prefix_shared"] is True and got.manifest["prefix_copied"] is None
    whole: Any = capture(model, prompts, plan, share_prefix=False)
    assert (got.attention_output - whole.attention_output).abs().max() <= EXACT
    forked: Any = fork(prefix.cache, 3)
    exists = torch.ones(3, len(prompts.prefix_ids) + 6, dtype=torch.bool)
    run_forward(model, torch.tensor([prompts.query_ids[0][:6]] * 3), exists, cache=forked)
    for kept, layer in zip(prefix.cache.layers, forked.layers, strict=True):
        assert isinstance(kept, LayerBehindPrefix) and isinstance(layer, LayerBehindPrefix)
        assert kept.keys is None and layer.keys is not None and layer.keys.shape[-2] == 6
        assert layer.prefix_keys is kept.prefix_keys and len(layer.prefix_keys) == 1
        assert layer.get_seq_length() == len(prompts.prefix_ids) + 6


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gpt_neox_japanese", "calls the softmax itself"),
        ("deepseek_v3", "attends to other keys or values than it caches"),
    ],
)
def test_who_falls_back_says_why(name: str, reason: str) -> None:
    model = load_model(tiny_decoders.build(name))
    prefix = encode_prefix(model, tiny_decoders.prefix(name))
    assert prefix is not None and prefix.copied is not None and reason in prefix.copied


@pytest.mark.parametrize("name", ["gemma2", "gpt_oss"])
def test_eager_attention_in_half_precision_falls_back(name: str) -> None:
    """It rounds its scores; in gpt_oss another rounding may choose another expert."""
    module: Any = tiny_families.build_anew(name)
    model = load_model(module.to(torch.bfloat16))
    prefix = encode_prefix(model, prompt_set(name).prefix_ids)
    assert prefix is not None and prefix.copied is not None and "rounds its scores" in prefix.copied


def test_a_mask_that_is_not_plainly_causal_falls_back() -> None:
    """Whatever hides more than what comes later, a batch's mask would have to be asked for it."""
    module: Any = tiny_families.fresh("llama")
    model = load_model(module)
    layer = module.model.layers[1].self_attn
    own = layer.forward

    def hiding(*args: Any, **kwargs: Any) -> Any:
        length = kwargs["hidden_states"].shape[1] if "hidden_states" in kwargs else args[0].shape[1]
        mask = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
        mask[..., 3:, 1] = False
        return own(*args, **{**kwargs, "attention_mask": mask})

    layer.forward = hiding
    prefix = encode_prefix(model, tuple(prompt_set("llama").prefix_ids))
    assert prefix is not None and prefix.copied == "layer 1 hides more than what comes later"


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss", "mistral"])
@pytest.mark.parametrize("site", ["scores", "pattern"])
def test_rows_that_are_written_mix_the_values_of_the_prefix_too(name: str, site: Any) -> None:
    """In the last layer, so that what is written at the prefix's own last token reaches nothing."""
    model, prompts = load_model(tiny_families.build(name)), prompt_set(name)
    last = model.n_layers - 1
    plan = CapturePlan(sites=(site,), layers=(last,), columns="all")
    read = CapturePlan(sites=("attention_output",))

    def halved(site: str, layer: int, rows: Tensor) -> Tensor:
        return rows / 2

    def outputs(shared: bool = True) -> Tensor:
        found: Any = capture(model, prompts, read, batch_size=3, share_prefix=shared)
        assert found.manifest["prefix_shared"] is shared and found.manifest["prefix_copied"] is None
        return found.attention_output

    plain = outputs()
    with patch(model, plan, halved):
        behind, whole = outputs(), outputs(shared=False)
    assert (behind - whole).abs().max() <= EXACT
    assert (behind - plain).abs().max() > 1e-3
