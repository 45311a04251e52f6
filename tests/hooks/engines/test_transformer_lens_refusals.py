"""What TransformerLens gets wrong, or does not give, is refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_decoders
import tiny_families
import torch

from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.engines.transformer_lens import TransformerLensEngine
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models.loading import load_model
from iclprobe.tasks.prompts import PromptSet


def _capture(name: str, source: Any = tiny_families, **plan: Any) -> None:
    model = load_model(source.build(name))
    given = PromptSet(tiny_decoders.prefix(name), tiny_decoders.prompts(name))
    capture(model, given, CapturePlan(**plan), engine="transformer-lens")


@pytest.mark.parametrize("name", ["gptj", "opt", "gpt_neo", "xglm"])
def test_scores_behind_the_softmax_are_found_by_their_rows(name: str) -> None:
    for site in ("scores", "pattern"):
        with pytest.raises(
            UserError, match="hook_attn_scores something whose softmax is not its hook_pattern"
        ):
            _capture(name, sites=site)
    with pytest.raises(UserError, match="no hook that gives queries"):
        _capture(name, sites="queries")


@pytest.mark.parametrize(("name", "source"), [("falcon_alibi", tiny_families), ("openai-gpt", tiny_decoders)])
def test_a_bridge_with_other_logits_is_refused(name: str, source: Any) -> None:
    with pytest.raises(UserError, match="gives other logits than"):
        _capture(name, source, sites="attention_output")


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("helium", tiny_decoders, "Unsupported architecture: HeliumForCausalLM"),
        ("gpt_bigcode_multi_head", tiny_families, "only supports multi_query=True"),
        ("phi_qk_norm", tiny_families, "HF module has 'q_layernorm'"),
    ],
)
def test_what_has_no_adapter_is_named(name: str, source: Any, reason: str) -> None:
    with pytest.raises(UserError, match=f"TransformerLens 4.* does not run .*{reason}.*take engine native"):
        _capture(name, source)


@pytest.mark.parametrize("space", ["raw", "scaled"])
def test_score_spaces_before_the_softmax_input_are_not_given(space: str) -> None:
    with pytest.raises(UserError, match=f"not in the space '{space}'"):
        _capture("llama", score_space=space)


def test_a_hook_that_never_fires_and_values_before_their_clip_are_refused() -> None:
    with pytest.raises(UserError, match=r"hook blocks\.0\.attn\.hook_rot_q never fired"):
        _capture("gpt_neox", sites="queries")
    with pytest.raises(UserError, match="no hook that gives values of layer 0 in OlmoForCausalLM"):
        _capture("olmo", sites="values")


@pytest.mark.parametrize("processing", ["compatibility mode", "norms alone"])
def test_a_bridge_with_folded_weights_is_refused(processing: str) -> None:
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    module = tiny_families.fresh("gpt2")
    bridge: Any = build_bridge_from_module(module, "GPT2LMHeadModel", hf_config=module.config)
    if processing == "norms alone":
        bridge.process_weights(center_writing_weights=False, center_unembed=False, fold_value_biases=False)
    else:
        bridge.enable_compatibility_mode()
    for give in (
        lambda: capture(bridge, [[5, 6]], engine="transformer-lens"),
        lambda: TransformerLensEngine(bridge),
    ):
        with pytest.raises(UserError, match="other numbers than the model's"):
            give()


def test_another_model_than_the_bridges_is_found_by_its_logits() -> None:
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    module = tiny_families.fresh("llama")
    bridge: Any = build_bridge_from_module(module, "LlamaForCausalLM", hf_config=module.config)
    other = load_model(tiny_families.build("llama", seed=1))
    with pytest.raises(UserError, match="gives other logits than"):
        capture(other, [[5, 6, 7]], engine=TransformerLensEngine(bridge))


def test_a_hook_of_the_users_that_changes_the_bridge_is_found_by_its_logits() -> None:
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    module = tiny_families.fresh("llama")
    bridge: Any = build_bridge_from_module(module, "LlamaForCausalLM", hf_config=module.config)
    bridge.add_perma_hook("blocks.1.attn.hook_pattern", lambda tensor, hook: torch.zeros_like(tensor))
    with pytest.raises(UserError, match="gives other logits than"):
        capture(bridge, [[5, 6, 7]], CapturePlan(sites=("residual",)), engine="transformer-lens")
