"""Decoders with latent attention: keys and values lie in one narrow vector, and a part of each key is rotated."""

from __future__ import annotations

from typing import Any

from decoder import CONTEXT, HEADS, by_name, like_llama

_LATENT: dict[str, Any] = {
    "num_key_value_heads": HEADS,
    "kv_lora_rank": 12,
    "q_lora_rank": 10,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
}
_WITHOUT_LATENT_QUERIES: dict[str, Any] = _LATENT | {"q_lora_rank": None}
_ROUTED: dict[str, Any] = {
    "moe_intermediate_size": 24,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
}
_GROUPED: dict[str, Any] = {"n_group": 1, "topk_group": 1}
_MLP: dict[str, Any] = {"mlp_output": "mlp"}
_DENSE_FIRST = ["dense", "sparse", "sparse"]
_YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": CONTEXT // 4,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}

LATENT = by_name(
    like_llama(
        "deepseek_v2",
        "latent_norm",
        paths=_MLP,
        first_k_dense_replace=1,
        **_WITHOUT_LATENT_QUERIES,
        **_ROUTED,
    ),
    like_llama(
        "deepseek_v3",
        "latent_norm bias",
        paths=_MLP,
        first_k_dense_replace=1,
        attention_bias=True,
        rope_parameters=_YARN,
        **_LATENT,
        **_ROUTED,
        **_GROUPED,
    ),
    like_llama(
        "axk1", "latent_norm", paths=_MLP, mlp_layer_types=_DENSE_FIRST, **_LATENT, **_ROUTED, **_GROUPED
    ),
    like_llama(
        "glm4_moe_lite", "latent_norm", paths=_MLP, mlp_layer_types=_DENSE_FIRST, **_LATENT, **_ROUTED
    ),
    like_llama("minicpm3", "latent_norm", scale_emb=2, **_LATENT),
    like_llama("youtu", "latent_norm bias", attention_bias=True, **_LATENT),
)
