"""Decoders with layers of other kinds between those with attention: linear attention, state spaces, an MLP alone."""

from __future__ import annotations

from typing import Any

from decoder import FULL, HEADS, SLIDING, WINDOW, Decoder, by_name, like_llama

_LINEAR, _CONVOLUTION = "linear_attention", "conv"
_BETWEEN = [_LINEAR, FULL, _LINEAR, FULL]
_DENSE_FIRST = ["dense", "sparse", "sparse", "dense"]
_MLP: dict[str, Any] = {"mlp_output": "mlp"}
_DELTA: dict[str, Any] = {
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_MAMBA: dict[str, Any] = {"mamba_d_state": 8, "mamba_d_conv": 4}
_MAMBA2: dict[str, Any] = _MAMBA | {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
}
_MAMBA2_BESIDE: dict[str, Any] = _MAMBA2 | {"mamba_d_head": 8}
_EXPERTS: dict[str, Any] = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_SHARED_EXPERT: dict[str, Any] = {"shared_expert_intermediate_size": 16}
_LATENT: dict[str, Any] = {
    "num_key_value_heads": HEADS,
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "mlp_layer_types": _DENSE_FIRST,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 24,
}
_TWO_ROPES: dict[str, Any] = {
    SLIDING: {"rope_type": "default", "rope_theta": 10000.0},
    FULL: {"rope_type": "proportional", "rope_theta": 500000.0, "partial_rotary_factor": 0.5},
}


def _hybrid(
    model_type: str,
    features: str = "gqa",
    *,
    paths: dict[str, Any] | None = None,
    attending: tuple[int, ...] = (1, 3),
    windows: tuple[int, ...] = (),
    **changes: Any,
) -> Decoder:
    """Four layers, of which the second and the last have attention if nothing else is said."""
    settings: dict[str, Any] = {"num_hidden_layers": 4} | changes
    return like_llama(
        model_type,
        features,
        paths={"attending": attending} | (paths or {}),
        windows=windows,
        shares_prefix=False,
        **settings,
    )


HYBRID = by_name(
    _hybrid(
        "qwen3_next",
        "qk_norm gqa",
        paths=_MLP,
        head_dim=12,
        layer_types=_BETWEEN,
        mlp_only_layers=[1],
        **_DELTA,
        **_EXPERTS,
        **_SHARED_EXPERT,
    ),
    _hybrid(
        "qwen3_5_text", "bias qk_norm gqa", head_dim=12, attention_bias=True, layer_types=_BETWEEN, **_DELTA
    ),
    _hybrid(
        "qwen3_5_moe_text",
        "qk_norm gqa",
        paths=_MLP,
        head_dim=12,
        layer_types=_BETWEEN,
        **_DELTA,
        **_EXPERTS,
        **_SHARED_EXPERT,
    ),
    _hybrid("olmo_hybrid", "-rotary qk_norm gqa", layer_types=_BETWEEN, **_DELTA),
    _hybrid(
        "minimax",
        paths=_MLP,
        head_dim=12,
        layer_types=_BETWEEN,
        block_size=8,
        num_local_experts=3,
        num_experts_per_tok=2,
    ),
    _hybrid(
        "bamba",
        "bias gqa",
        paths={"mlp_output": "feed_forward.down_proj"},
        attention_bias=True,
        attn_layer_indices=[1, 3],
        **_MAMBA2,
    ),
    _hybrid(
        "jamba",
        "-rotary gqa",
        paths={"mlp_output": "feed_forward"},
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=3,
        expert_layer_offset=1,
        num_experts=3,
        num_experts_per_tok=2,
        mamba_dt_rank=4,
        use_mamba_kernels=False,
        **_MAMBA,
    ),
    _hybrid(
        "falcon_h1",
        "bias key_multiplier gqa",
        paths={"mlp_output": "feed_forward"},
        attending=(0, 1, 2),
        num_hidden_layers=3,
        attention_bias=True,
        key_multiplier=0.4,
        attention_in_multiplier=0.8,
        attention_out_multiplier=0.7,
        mamba_d_ssm=32,
        **_MAMBA2_BESIDE,
    ),
    _hybrid(
        "granitemoehybrid",
        paths={"mlp_output": None},
        position_embedding_type="rope",
        layer_types=_BETWEEN,
        attention_multiplier=0.2,
        residual_multiplier=0.7,
        num_local_experts=3,
        num_experts_per_tok=2,
        shared_intermediate_size=16,
        **_MAMBA2,
    ),
    _hybrid(
        "lfm2",
        "qk_norm gqa",
        paths={"output_projection": "self_attn.out_proj", "mlp_output": "feed_forward.w2"},
        layer_types=[_CONVOLUTION, FULL, _CONVOLUTION, FULL],
    ),
    _hybrid(
        "lfm2_moe",
        "qk_norm gqa",
        paths={"output_projection": "self_attn.out_proj", "mlp_output": "feed_forward"},
        layer_types=[_CONVOLUTION, FULL, _CONVOLUTION, FULL],
        num_dense_layers=2,
        **_EXPERTS,
    ),
    _hybrid(
        "lfm3",
        "window qk_norm gqa",
        paths={"mlp_output": "feed_forward.w2"},
        attending=(1, 2, 3),
        windows=(1, 3),
        head_dim=16,
        layer_types=[_CONVOLUTION, SLIDING, FULL, SLIDING],
        sliding_window=WINDOW,
        rope_parameters=_TWO_ROPES,
    ),
    _hybrid(
        "nemotron_h",
        "-rotary gqa",
        paths={"attention": "mixer", "output_projection": "mixer.o_proj", "mlp_output": None},
        attending=(1, 4),
        num_hidden_layers=None,
        head_dim=12,
        layers_block_type=[_LINEAR, FULL, "mlp", _LINEAR, FULL, "moe"],
        mamba_num_heads=4,
        mamba_head_dim=8,
        n_groups=1,
        ssm_state_size=8,
        chunk_size=8,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
        moe_shared_expert_intermediate_size=16,
        use_mamba_kernels=False,
    ),
    _hybrid(
        "recurrent_gemma",
        "bias window gqa",
        paths={
            "attention": "temporal_block",
            "output_projection": "temporal_block.o_proj",
            "mlp_output": "mlp_block.down_proj",
        },
        attending=(1, 3),
        windows=(1, 3),
        attention_bias=True,
        attention_window_size=WINDOW,
        block_types=["recurrent", "attention"],
        lru_width=32,
    ),
    _hybrid(
        "kimi_linear",
        "-rotary latent_norm bias",
        paths=_MLP,
        attention_bias=True,
        layer_types=_BETWEEN,
        linear_head_dim=8,
        linear_num_heads=2,
        q_lora_rank=10,
        **_LATENT,
    ),
    _hybrid(
        "bailing_hybrid",
        "latent_norm",
        paths=_MLP,
        head_dim=8,
        layer_types=_BETWEEN,
        **_LATENT,
    ),
)
