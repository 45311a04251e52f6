"""The engine TransformerLens records what the native one records, from its own hooks."""

from __future__ import annotations

from typing import Any

import pytest
import shared_material
import tiny_decoders
import tiny_families
import torch

from iclprobe.hooks.capture import Capture, capture
from iclprobe.hooks.engines.transformer_lens import TransformerLensEngine
from iclprobe.hooks.plan import SITES, CapturePlan, Site
from iclprobe.hooks.tolerances import relative_deviation
from iclprobe.models.loading import load_model
from iclprobe.tasks.prompts import PromptSet

FAMILIES = [
    "gpt2",
    "gpt2_inverse_layer",
    "gpt_bigcode",
    "gpt_neox",
    "bloom",
    "codegen",
    "mpt",
    "falcon",
    "llama_bias",
    "mistral",
    "qwen2_sliding",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "phi",
    "phi3",
    "olmo2",
    "stablelm_qk_norm",
    "cohere_qk_norm",
    "granite",
    "gpt_oss",
    "smollm3",
    "olmo3",
    "exaone4",
]
# Their own attention runs inside TransformerLens's wrapper, and what is read of it besides is right.
WITHOUT_SCORES = ("gpt_neo", "gptj", "opt", "xglm")
# hook_rot_q and hook_rot_k are there and never fire.
WITHOUT_QUERIES = ("gpt_neox", "codegen", "falcon", "phi3")
WITHOUT_MIDDLE = [
    "gpt_neox",
    "codegen",
    "falcon",
    "phi",
    "stablelm_qk_norm",
    "cohere_qk_norm",
    "gptj",
]
SUMMED: tuple[Site, ...] = ("head_output",)
"""Sites in whose sums entries cancel."""
ROUNDING = 2e-5
"""What TransformerLens's own order of sums may change of a row's largest entry, on any processor."""


def prompts(name: str) -> PromptSet:
    """A prefix and three prompts of different lengths, all longer than the windows."""
    return PromptSet(tiny_decoders.prefix(name), tiny_decoders.prompts(name))


def deviations(want: Capture, got: Capture, sites: tuple[Site, ...]) -> dict[Site, float]:
    """The worst entry of each site, relative to the largest of its row; rows that do not exist are left out."""
    assert want.rows is not None
    real = want.rows[:, None, :, None]
    found: dict[Site, float] = {}
    for site in sites:
        one, other = getattr(want, site), getattr(got, site)
        assert one.shape == other.shape and one.isfinite().all() and other.isfinite().all()
        exists = real if one.dim() == 4 else real[..., None]
        found[site] = relative_deviation(one.masked_fill(~exists, 0.0), other.masked_fill(~exists, 0.0))
    if want.visible is not None:
        assert got.visible is not None and torch.equal(
            want.visible & real[..., None], got.visible & real[..., None]
        )
    return found


def assert_alike(want: Capture, got: Capture, sites: tuple[Site, ...]) -> None:
    for site, deviation in deviations(want, got, sites).items():
        assert deviation < (1e-4 if site in SUMMED else ROUNDING), site


def _sites(name: str) -> tuple[Site, ...]:
    left_out = {
        *(("scores", "pattern", "queries", "keys") if name in WITHOUT_SCORES else ()),
        *(("queries", "keys") if name in WITHOUT_QUERIES else ()),
        *(("residual_middle",) if name in WITHOUT_MIDDLE else ()),
    }
    return tuple(site for site in SITES if site not in left_out)


@pytest.mark.parametrize("shared", [False, True], ids=["whole", "behind a prefix"])
@pytest.mark.parametrize("name", [*FAMILIES, *WITHOUT_SCORES])
def test_every_site_is_what_the_native_engine_records(name: str, shared: bool) -> None:
    model = load_model(tiny_families.build(name))
    plan = CapturePlan(sites=_sites(name), positions="all", columns="all")
    given: dict[str, Any] = {"share_prefix": shared, "batch_size": 3}
    want = capture(model, prompts(name), plan, **given)
    got = capture(model, prompts(name), plan, engine="transformer-lens", **given)
    assert_alike(want, got, plan.sites)
    assert got.manifest["engine"] == "transformer-lens" and got.manifest["prefix_shared"] is shared
    assert want.label_logprobs is None and want.top_logprobs is not None and got.top_logprobs is not None
    torch.testing.assert_close(got.top_logprobs, want.top_logprobs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["llama_bias", "gemma3_text", "bloom", "gpt_oss"])
@pytest.mark.parametrize(
    ("layers", "positions", "columns"),
    [((1,), "last_prompt_token", "query"), ((2, 0), (0, -2), "all"), ((-1,), "prompt", "all")],
)
def test_single_layers_and_positions_are_the_rows_asked_for(
    name: str, layers: tuple[int, ...], positions: Any, columns: Any
) -> None:
    model = load_model(tiny_families.build(name))
    plan = CapturePlan(
        sites=("attention_output", "scores"), layers=layers, positions=positions, columns=columns
    )
    want = capture(model, prompts(name), plan)
    got = capture(model, prompts(name), plan, engine="transformer-lens")
    assert got.layers == want.layers == tuple(layer % 3 for layer in layers)
    for site in plan.sites:
        assert relative_deviation(getattr(want, site), getattr(got, site)) < ROUNDING
    assert want.visible is not None and got.visible is not None and torch.equal(want.visible, got.visible)


@pytest.mark.parametrize("name", ["deepseek_v2", "deepseek_v3"])
def test_latent_attention_takes_no_prefix_of_the_models_own_and_says_so(name: str) -> None:
    model = load_model(tiny_decoders.build(name))
    plan = CapturePlan(positions="all", columns="all")
    want = capture(model, prompts(name), plan)
    got = capture(model, prompts(name), plan, engine="transformer-lens")
    assert (want.manifest["prefix_shared"], got.manifest["prefix_shared"]) == (True, False)
    assert_alike(want, got, plan.sites)


def test_label_words_of_several_tokens_are_scored_through_the_bridge() -> None:
    model = load_model(tiny_families.build("qwen3"))
    plain = prompts("qwen3")
    labels = tuple(((5, 6), (7,)) for _ in plain.query_ids)
    labelled = PromptSet(plain.prefix_ids, plain.query_ids, label_ids=labels, gold=(0, 1, 0))
    for position in ("last_prompt_token", "first_label_token"):
        plan = CapturePlan(positions=position)
        want = capture(model, labelled, plan)
        got = capture(model, labelled, plan, engine="transformer-lens")
        assert want.label_logprobs is not None and got.label_logprobs is not None
        torch.testing.assert_close(got.label_logprobs, want.label_logprobs, atol=1e-4, rtol=0)
        assert relative_deviation(want.scores, got.scores) < 1e-5  # type: ignore[arg-type]


def test_bfloat16_agrees_within_its_rounding() -> None:
    module: Any = tiny_families.fresh("llama")
    module.to(torch.bfloat16)
    plan = CapturePlan(positions="all", columns="all")
    want = capture(load_model(module), prompts("llama"), plan)
    got = capture(load_model(module), prompts("llama"), plan, engine="transformer-lens")
    found = deviations(want, got, plan.sites)
    assert max(found.values()) < 0.1, found


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3_text"])
def test_a_bridge_that_the_user_has_is_run_and_its_model_is_captured(name: str) -> None:
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    module = tiny_families.fresh(name)
    plan = CapturePlan(sites=_sites(name), positions="all", columns="all")
    want = capture(load_model(tiny_families.build(name)), prompts(name), plan)
    module.set_attn_implementation("eager")
    bridge = build_bridge_from_module(module, type(module).__name__, hf_config=module.config)
    before = list(bridge.state_dict())
    bridge.enable_compatibility_mode(no_processing=True)
    for engine in ("transformer-lens", "native", TransformerLensEngine(bridge)):
        got = capture(bridge, prompts(name), plan, engine=engine)  # type: ignore[arg-type]
        assert_alike(want, got, plan.sites)
    assert list(bridge.state_dict()) == before
    assert not any(point.fwd_hooks for point in bridge.hook_dict.values() if not _permanent(point))


def _permanent(point: Any) -> bool:
    return all(handle.is_permanent for handle in point.fwd_hooks)


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma3-270m"])
def test_a_real_model_gives_the_same_scores_and_attention_outputs(name: str) -> None:
    model = load_model(shared_material.real_model(name), device="cpu", dtype="float32")
    # A row of one key has one score, which may nearly cancel: fp32 then keeps 1e-4 of it (held against fp64).
    texts = ["The capital of France is", "Numbers in order: one, two, three, four, five, six,", "Yes, it is"]
    plan = CapturePlan(sites=("attention_output", "scores"), columns="all")
    want = capture(model, texts, plan)
    got = capture(model, texts, plan, engine="transformer-lens")
    for site in plan.sites:
        assert relative_deviation(getattr(want, site), getattr(got, site)) < 1e-5
