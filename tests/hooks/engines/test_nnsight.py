"""What nnsight sees in a model is what our own tap records, in every family, site, space, batch and prefix."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_decoders
import tiny_families
import torch
from engine_parity import CALL, EXACT, plan_of, prompts_of, worst
from shared_material import real_model

import iclprobe
from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import SITES
from iclprobe.models.loading import load_model
from iclprobe.models.score_spaces import ScoreSpace
from iclprobe.tasks.prompts import PromptSet

pytest.importorskip("nnsight")

# Transformers' eager attention of Falcon adds ALiBi twice: to the scores, and in the mask.
UNLIKE = "falcon_alibi"
FAMILIES = [name for name in tiny_families.FAMILIES if name != UNLIKE]
REFUSED = ("openai-gpt", "granite_swa", "granitemoe_swa", "mimo_v2_flash")
"""Decoders whose softmax does not show scores and pattern; see `test_nnsight_refusals`."""
WITHOUT_VECTORS = ["xglm", "bloom", "mpt", "falcon", "falcon_grouped"]
"""Families that call no function with queries, keys and values."""
MIDDLE = ["llama", "gemma2", "gpt2", "opt", "gpt_neo", "bloom", "olmo2", "gpt_bigcode"]


def both(name: str, plan: Any, prompts: Any = None, **options: Any) -> dict[str, float]:
    model, prompts = load_model(tiny_families.build(name)), prompts or prompts_of(name)
    native = capture(model, prompts, plan, **options)
    through = capture(model, prompts, plan, engine="nnsight", **options)
    assert through.manifest["engine"] == "nnsight"
    assert through.manifest["prefix_shared"] == native.manifest["prefix_shared"]
    torch.testing.assert_close(through.top_logprobs, native.top_logprobs, rtol=0, atol=1e-4)
    return worst(native, through)


@pytest.mark.parametrize("share_prefix", [True, False], ids=["shared", "whole"])
@pytest.mark.parametrize("name", FAMILIES)
def test_attention_and_its_rows_are_the_taps(name: str, share_prefix: bool) -> None:
    found = both(name, plan_of(*CALL), share_prefix=share_prefix)
    assert set(found) == set(CALL)
    assert max(found.values()) <= EXACT, found


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in tiny_decoders.DECODERS if name not in REFUSED])
def test_every_other_decoder(name: str) -> None:
    model = load_model(tiny_decoders.build(name))
    prompts = PromptSet(
        tuple(tiny_decoders.prefix(name)), tuple(tuple(ids) for ids in tiny_decoders.prompts(name)[:3])
    )
    found = worst(
        *(capture(model, prompts, plan_of(*CALL), engine=engine) for engine in ("native", "nnsight"))
    )
    assert max(found.values()) <= EXACT, found


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in WITHOUT_VECTORS])
def test_queries_keys_values_and_head_outputs_are_the_taps(name: str) -> None:
    found = both(name, plan_of("queries", "keys", "values", "head_output"))
    assert max(found.values()) <= EXACT, found


@pytest.mark.parametrize("name", WITHOUT_VECTORS)
def test_attention_that_calls_no_function_gives_no_vectors(name: str) -> None:
    with pytest.raises(UserError, match=r"shows no keys in attention of layer 0 .* take engine native"):
        both(name, plan_of("keys"))


@pytest.mark.parametrize("share_prefix", [True, False], ids=["shared", "whole"])
@pytest.mark.parametrize("name", MIDDLE)
def test_what_modules_are_given_and_return_is_the_taps(name: str, share_prefix: bool) -> None:
    sites = [site for site in SITES if site.startswith(("residual", "mlp"))]
    found = both(name, plan_of(*sites), share_prefix=share_prefix)
    assert set(found) == set(sites)
    assert max(found.values()) <= EXACT, found


@pytest.mark.parametrize("layers", [(1,), (-1, 0), slice(0, 2)], ids=str)
@pytest.mark.parametrize("name", ["gpt2", "gemma3_text", "gpt_oss"])
def test_some_layers_in_any_order(name: str, layers: Any) -> None:
    found = both(name, plan_of(*CALL, layers=layers, columns="query", positions="last_prompt_token"))
    assert max(found.values()) <= EXACT, found


@pytest.mark.parametrize("positions", ["all", "first_label_token", "prompt"])
@pytest.mark.parametrize("name", ["llama", "mistral", "gptj"])
def test_positions_and_labels_of_several_tokens(name: str, positions: str) -> None:
    model, prompts = load_model(tiny_families.build(name)), prompts_of(name, labels=True)
    plan = plan_of("attention_output", "residual", positions=positions)
    native, through = (capture(model, prompts, plan, engine=engine) for engine in ("native", "nnsight"))
    assert native.label_logprobs is not None and through.label_logprobs is not None
    torch.testing.assert_close(through.label_logprobs, native.label_logprobs, rtol=0, atol=1e-5)
    for site in ("attention_output", "residual"):
        want, got = getattr(native, site), getattr(through, site)
        if native.rows is not None:
            assert through.rows is not None and torch.equal(native.rows, through.rows)
            want, got = (each[native.rows[:, None].expand(each.shape[:-1])] for each in (want, got))
        assert ((want - got).abs() / want.abs().amax(dim=-1, keepdim=True)).max() <= EXACT


@pytest.mark.parametrize(
    ("name", "space"),
    [(name, space) for name in ("llama", "gpt2", "gpt_oss") for space in ("raw", "scaled")]
    + [("gemma2", "raw"), ("gemma2", "scaled"), ("gemma2", "softcapped")],
)
def test_other_spaces(name: str, space: ScoreSpace) -> None:
    found = both(name, plan_of("scores", "pattern", score_space=space))
    assert max(found.values()) <= EXACT, found


def test_a_family_whose_eager_attention_computes_otherwise_is_refused() -> None:
    with pytest.raises(UserError, match=r"nnsight 0\.8.* gives other logits than .*Falcon"):
        both(UNLIKE, plan_of("attention_output"))


def test_a_space_without_an_operation_is_refused() -> None:
    with pytest.raises(UserError, match=r"labels no 'torch_matmul_0' in attention .*the scaled scores"):
        both("gptj", plan_of("scores", score_space="scaled"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["llama", "gpt2", "codegen"])
def test_half_precision_shows_the_same_keys(name: str, dtype: torch.dtype) -> None:
    module: Any = tiny_families.fresh(name)
    model, plan = load_model(module.to(dtype)), plan_of(*CALL)
    native, through = (
        capture(model, prompts_of(name), plan, engine=engine) for engine in ("native", "nnsight")
    )
    found = worst(native, through)
    assert max(found.values()) <= (0.2 if dtype == torch.bfloat16 else 0.03), found


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma3-270m"])
def test_real_models(name: str) -> None:
    model = load_model(str(real_model(name)), dtype="float32")
    texts = ["The capital of France is", "Once upon a time there was a small village by the sea, and in it"]
    plan = iclprobe.CapturePlan(sites=CALL, columns="all", positions="all")
    native, through = (capture(model, texts, plan, engine=engine) for engine in ("native", "nnsight"))
    assert native.rows is not None
    for index in range(2):
        real = int(native.rows[index].sum())
        for site in CALL:
            want, got = (getattr(each, site)[index][:, :real] for each in (native, through))
            largest = want.abs().amax(dim=-1, keepdim=True).clamp(min=1e-3 * float(want.abs().max()))
            assert float(((want - got).abs() / largest).max()) <= EXACT, site
