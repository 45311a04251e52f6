"""At which of TransformerLens's hooks a site is read."""

from __future__ import annotations

from typing import Any

from ...errors import UserError
from ..plan import Site

_PLACES: dict[Site, str] = {
    # Not hook_attn_out, which some families have behind a norm, and Bloom behind the residual.
    "attention_output": "attn.o.hook_out",
    "head_output": "attn.o.hook_in",
    "scores": "attn.hook_attn_scores",
    "pattern": "attn.hook_pattern",
    "values": "attn.hook_v",
    "residual_before": "hook_resid_pre",
    "residual_middle": "hook_resid_mid",
    "residual": "hook_resid_post",
    "mlp_input": "mlp.hook_in",
}


def hook_of(bridge: Any, site: Site, layer: int) -> str:
    """Return the name of the hook that gives a site in a layer.

    Raises:
        UserError: If this bridge has none that does.
    """
    hooks = bridge.hook_dict
    place = _place(bridge, site, layer)
    found = None if place is None else hooks.get(f"blocks.{layer}.{place}")
    if found is None:
        raise UserError(
            f"TransformerLens has no hook that gives {site} of layer {layer} in {bridge.cfg.architecture}: leave it "
            "out of the plan's sites, or take engine native"
        )
    # An alias stands for the hook that it names.
    return found.name


def _place(bridge: Any, site: Site, layer: int) -> str | None:
    if site in ("queries", "keys"):
        return _factor(bridge, "q" if site == "queries" else "k", layer)
    if site == "mlp_output":
        # Behind a norm it is no longer the MLP's output; in Bloom the MLP adds the residual inside.
        alias = bridge.hook_dict.get(f"blocks.{layer}.hook_mlp_out")
        inside = alias is not None and alias.name.startswith(f"blocks.{layer}.mlp.")
        return "hook_mlp_out" if inside else "mlp.hook_out"
    if site == "values" and _clipped(getattr(bridge.blocks[layer], "attn", None)):
        # The hook stands before the clip.
        return None
    return _PLACES[site]


def keeps_other_keys(bridge: Any) -> bool:
    """Return whether the bridge's caches are not the model's own: latent attention keeps keys otherwise in them."""
    from transformer_lens.model_bridge.generalized_components.mla_attention import MLAAttentionBridge

    return any(isinstance(getattr(block, "attn", None), MLAAttentionBridge) for block in bridge.blocks)


def _clipped(attention: Any) -> bool:
    inside = getattr(attention, "original_component", None)
    holders = (inside, getattr(inside, "config", None))
    return any(getattr(holder, "clip_qkv", None) is not None for holder in holders)


def _factor(bridge: Any, letter: str, layer: int) -> str | None:
    """Return where queries or keys are as attention multiplies them, None where no hook shows that."""
    from transformer_lens.model_bridge.generalized_components import AttentionBridge

    attention = getattr(bridge.blocks[layer], "attn", None)
    # What only hands on to the model's own attention shows the projections, before whatever happens to them inside.
    if attention is None or type(attention).forward is AttentionBridge.forward:
        return None
    if getattr(attention.config, "qk_norm_after_rope", False):
        return f"attn.hook_{letter}_normed"
    rotated = f"attn.hook_rot_{letter}"
    return rotated if f"blocks.{layer}.{rotated}" in bridge.hook_dict else f"attn.hook_{letter}"
