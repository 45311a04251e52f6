"""Decoders with experts, in some or all of their layers, that attend to all keys."""

from __future__ import annotations

from typing import Any

from decoder import CONTEXT, HEADS, by_name, like_llama, other

_MLP: dict[str, Any] = {"mlp_output": "mlp"}
_GRANITE: dict[str, Any] = {
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.7,
    "num_local_experts": 3,
    "num_experts_per_tok": 2,
}
_ROUTED: dict[str, Any] = {
    "moe_intermediate_size": 24,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
}

EXPERTS = by_name(
    like_llama(
        "aria_text",
        "gqa",
        paths=_MLP,
        seed=1,
        head_dim=8,
        intermediate_size=24,
        moe_num_experts=3,
        moe_topk=2,
        moe_num_shared_experts=1,
    ),
    like_llama(
        "ernie4_5_moe",
        "bias gqa",
        paths=_MLP,
        use_bias=True,
        moe_intermediate_size=24,
        moe_k=2,
        moe_num_experts=3,
        moe_num_shared_experts=1,
        moe_layer_end_index=1,
    ),
    like_llama("flex_olmo", "qk_norm gqa", paths=_MLP, num_experts=3, num_experts_per_tok=2),
    like_llama(
        "glm4_moe",
        "bias qk_norm gqa",
        paths=_MLP,
        head_dim=12,
        attention_bias=True,
        use_qk_norm=True,
        first_k_dense_replace=1,
        **_ROUTED,
    ),
    like_llama("granitemoe", "gqa", paths={"mlp_output": "block_sparse_moe"}, **_GRANITE),
    like_llama(
        "granitemoeshared", "gqa", paths={"mlp_output": None}, shared_intermediate_size=16, **_GRANITE
    ),
    like_llama("hunyuan_v1_moe", "qk_norm gqa", paths=_MLP, head_dim=12, num_experts=3, moe_topk=2),
    like_llama(
        "hy_v3",
        "qk_norm gqa",
        paths=_MLP,
        head_dim=12,
        moe_intermediate_size=24,
        num_experts=4,
        num_experts_per_tok=2,
        mlp_layer_types=["dense", "sparse", "sparse"],
    ),
    like_llama(
        "minimax_m2", "qk_norm gqa", paths=_MLP, head_dim=12, num_local_experts=3, num_experts_per_tok=2
    ),
    like_llama(
        "olmoe", "qk_norm clip gqa", paths=_MLP, seed=1, clip_qkv=3.0, num_experts=3, num_experts_per_tok=2
    ),
    like_llama("solar_open", "gqa", paths=_MLP, head_dim=12, **_ROUTED),
    other(
        "dbrx",
        "rotary clip gqa",
        {
            "layers": "transformer.blocks",
            "attention": "norm_attn_norm.attn",
            "output_projection": "norm_attn_norm.attn.out_proj",
            "mlp_output": "ffn",
        },
        {
            "d_model": 32,
            "n_heads": HEADS,
            "n_layers": 3,
            "max_seq_len": CONTEXT,
            "attn_config": {"clip_qkv": 3.0, "kv_n_heads": 2, "rope_theta": 10000.0},
            "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 24, "moe_num_experts": 3, "moe_top_k": 2},
        },
    ),
)
