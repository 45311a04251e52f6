"""Captures become TransformerLens's caches and caches become captures, under TransformerLens's names."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_families
import torch

from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.captured import Capture
from iclprobe.hooks.plan import CapturePlan, Site
from iclprobe.hooks.tolerances import relative_deviation
from iclprobe.models.loading import load_model

PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [16, 17, 18, 19], [20, 21, 22, 23, 24, 25, 26]]
SITES: tuple[Site, ...] = (
    "attention_output",
    "scores",
    "pattern",
    "queries",
    "values",
    "residual_before",
    "residual_middle",
    "residual",
    "mlp_output",
)


def _bridge(name: str) -> Any:
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    module = tiny_families.fresh(name)
    module.set_attn_implementation("eager")
    return build_bridge_from_module(module, type(module).__name__, hf_config=module.config)


def _recorded_by_the_user(bridge: Any, **options: Any) -> tuple[Any, torch.Tensor]:
    width = max(map(len, PROMPTS))
    mask = torch.tensor([[place < len(ids) for place in range(width)] for ids in PROMPTS])
    tokens = torch.tensor([ids + [0] * (width - len(ids)) for ids in PROMPTS])
    return bridge.run_with_cache(tokens, attention_mask=mask.long(), **options)[1], mask


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3_text", "gpt_oss"])
@pytest.mark.parametrize("positions", ["all", "last_prompt_token", (0, -2)])
def test_a_cache_of_the_users_is_the_capture_of_the_engine(name: str, positions: Any) -> None:
    bridge = _bridge(name)
    cache, mask = _recorded_by_the_user(bridge)
    plan = CapturePlan(sites=SITES, positions=positions, columns="all")
    want = capture(
        load_model(tiny_families.build(name)), PROMPTS, plan, engine="transformer-lens", batch_size=3
    )
    got = Capture.from_activation_cache(cache, mask=mask, positions=positions)
    assert got.layers == want.layers and torch.equal(got.columns, want.columns)
    real = torch.ones(3, 1, dtype=torch.bool) if want.rows is None else want.rows
    for site in SITES:
        one, other = getattr(want, site), getattr(got, site)
        assert one.shape == other.shape
        exists = (real[:, None] if want.rows is not None else real).reshape(
            *real[:, None].shape[: 3 if want.rows is not None else 2],
            *[1] * (one.dim() - (3 if want.rows is not None else 2)),
        )
        assert relative_deviation(one.masked_fill(~exists, 0.0), other.masked_fill(~exists, 0.0)) < 1e-5, site
    assert want.row_tokens is not None and got.row_tokens is not None
    assert torch.equal(want.row_tokens, got.row_tokens)


@pytest.mark.parametrize("positions", ["all", "last_prompt_token"])
def test_a_capture_goes_into_a_cache_and_comes_back(positions: Any) -> None:
    plan = CapturePlan(sites=SITES, positions=positions, columns="all")
    prompts = [PROMPTS[0], PROMPTS[0][::-1]]
    want = capture(load_model(tiny_families.build("llama")), prompts, plan)
    cache = want.to_activation_cache()
    heads, tokens = 4, len(prompts[0])
    recorded = tokens if positions == "all" else 1
    assert cache["blocks.1.attn.hook_attn_scores"].shape == (2, heads, recorded, tokens)
    assert cache["resid_pre", 2].shape == (2, recorded, 32) and cache["pattern", 0].shape[1] == heads
    assert cache["blocks.0.attn.hook_attn_scores"][0, 0, 0, -1] in (
        torch.finfo(torch.float32).min,
        want.scores[0, 0, 0, -1],  # type: ignore[index]
    )
    got = Capture.from_activation_cache(cache)
    for site in (*SITES, "visible"):
        one, other = getattr(want, site), getattr(got, site)
        assert torch.equal(one, other if positions == "all" else other[:, :, 0]), site


def test_with_a_bridge_the_aliases_and_tools_of_transformer_lens_work() -> None:
    bridge = _bridge("llama")
    plan = CapturePlan(
        sites=("attention_output", "residual_before", "residual", "mlp_output"), positions="all"
    )
    cache = capture(bridge, [PROMPTS[0]], plan).to_activation_cache(bridge)
    theirs = bridge.run_with_cache(torch.tensor([PROMPTS[0]]))[1]
    for layer in range(3):
        torch.testing.assert_close(cache["attn_out", layer], theirs["attn_out", layer], atol=1e-4, rtol=1e-4)
    mine = cache.accumulated_resid(layer=2, incl_mid=False)
    torch.testing.assert_close(mine, theirs.accumulated_resid(layer=2, incl_mid=False), atol=1e-4, rtol=1e-4)
    behind_a_norm = _bridge("gemma3_text")
    cache = capture(behind_a_norm, [PROMPTS[0]], plan).to_activation_cache(behind_a_norm)
    assert "blocks.0.attn.o.hook_out" in cache.cache_dict and "blocks.0.hook_attn_out" not in cache.cache_dict


def test_a_cache_without_batch_axis_and_a_plain_mapping_are_read() -> None:
    bridge = _bridge("llama")
    tokens = torch.tensor([PROMPTS[1]])
    whole = Capture.from_activation_cache(bridge.run_with_cache(tokens)[1])
    bare = Capture.from_activation_cache(bridge.run_with_cache(tokens, remove_batch_dim=True)[1])
    plain = Capture.from_activation_cache(dict(bridge.run_with_cache(tokens)[1].cache_dict))
    for site in ("scores", "attention_output", "residual"):
        assert torch.equal(getattr(whole, site), getattr(bare, site))
        assert torch.equal(getattr(whole, site), getattr(plain, site))


def test_scores_behind_the_softmax_are_refused() -> None:
    cache = _bridge("gptj").run_with_cache(torch.tensor([PROMPTS[0]]))[1]
    with pytest.raises(UserError, match="hook_attn_scores of this cache is not what the softmax sees"):
        Capture.from_activation_cache(cache)
    alone = {name: cache[name] for name in cache.cache_dict if "attn_scores" in name}
    with pytest.raises(UserError, match="hook_attn_scores of this cache is not what the softmax sees"):
        Capture.from_activation_cache(alone)


def test_caches_that_make_no_capture_are_refused() -> None:
    bridge = _bridge("gpt2")
    tokens = torch.tensor([PROMPTS[0]])
    cache = bridge.run_with_cache(tokens)[1]
    with pytest.raises(UserError, match="holds none of the hooks"):
        Capture.from_activation_cache({"hook_embed": torch.zeros(1, 3, 4)})
    with pytest.raises(UserError, match="of some layers and not of layer 1"):
        Capture.from_activation_cache(
            {k: v for k, v in cache.cache_dict.items() if k != "blocks.1.attn.hook_pattern"}
        )
    with pytest.raises(UserError, match="does not fit a cache of"):
        Capture.from_activation_cache(cache, mask=torch.ones(1, 3))
    bridge.enable_compatibility_mode()
    with pytest.raises(UserError, match="other numbers than the model's"):
        Capture.from_activation_cache(bridge.run_with_cache(tokens)[1])
