"""Where the residual stream between attention and MLP is read in families whose configuration decides it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .family import PARALLEL

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_NORM = "post_attention_layernorm"


def neox_middle(config: PretrainedConfig) -> str:
    """Return it for GPT-NeoX and StableLM, whose layers may be parallel."""
    return PARALLEL if config.use_parallel_residual else _NORM


def falcon_middle(config: PretrainedConfig) -> str:
    """Return it for Falcon, whose newer layers are parallel."""
    return PARALLEL if config.new_decoder_architecture or config.parallel_attn else _NORM


def bloom_middle(config: PretrainedConfig) -> str:
    """Return it for Bloom, whose MLP may be added to what the norm gave."""
    return "mlp" if config.apply_residual_connection_post_layernorm else _NORM


def opt_middle(config: PretrainedConfig) -> str:
    """Return it for OPT, whose norms may stand behind attention and MLP."""
    return "final_layer_norm" if config.do_layer_norm_before else "fc1"
