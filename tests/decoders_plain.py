"""Decoders of one kind of layer, every layer attending to all keys and followed by one MLP."""

from __future__ import annotations

from typing import Any

from decoder import CONTEXT, HEADS, IDS, LLAMA, by_name, like_llama, other

_YARN_WITH_TEMPERATURE: dict[str, Any] = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 16,
    "max_position_embeddings": CONTEXT,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.5,
}
_GPT2_PATHS: dict[str, Any] = {
    "layers": "transformer.h",
    "attention": "attn",
    "output_projection": "attn.c_proj",
    "mlp_output": "mlp.c_proj",
}
_GPT2: dict[str, Any] = {"n_embd": 32, "n_layer": 3, "n_head": HEADS, "n_positions": CONTEXT}
_VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "crop_size": 28,
}
_AUDIO: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_blocks": 2,
    "num_attention_heads": 2,
    "input_size": 16,
    "ext_pw_out_channel": 16,
    "depthwise_separable_out_channel": 16,
    "nemo_conv_channels": 16,
}

PLAIN = by_name(
    like_llama("apertus", "qk_norm gqa"),
    like_llama("arcee", "bias gqa", attention_bias=True),
    like_llama("bitnet", "gqa"),
    like_llama("ernie4_5", "bias gqa", head_dim=12, use_bias=True),
    like_llama("glm", "bias gqa", head_dim=12),
    like_llama("glm4", "bias gqa", head_dim=12),
    like_llama("helium", "gqa", head_dim=8),
    like_llama("hunyuan_v1_dense", "qk_norm gqa", head_dim=12),
    like_llama("hyperclovax", "bias gqa", head_dim=8, attention_multiplier=0.2, attention_bias=True),
    like_llama("internlm3", "gqa", head_dim=12),
    like_llama("iquestcoder", "gqa", head_dim=12),
    like_llama("jais2", "bias gqa", head_dim=12),
    like_llama("ministral3", "temperature gqa", head_dim=12, rope_parameters=_YARN_WITH_TEMPERATURE),
    like_llama(
        "moshi",
        "gqa",
        paths={"mlp_output": "mlp.fc2"},
        head_dim=8,
        ffn_dim=96,
        audio_vocab_size=16,
    ),
    like_llama("nanochat", "qk_norm gqa", paths={"mlp_output": "mlp.fc2"}, hidden_size=128),
    like_llama("nemotron", "gqa", head_dim=16),
    like_llama(
        "persimmon",
        "bias qk_norm",
        paths={"output_projection": "self_attn.dense", "mlp_output": "mlp.dense_4h_to_h"},
        hidden_size=64,
        num_key_value_heads=None,
    ),
    like_llama("phi4_multimodal", "gqa", vision_config=_VISION, audio_config=_AUDIO),
    other(
        "emu3",
        "rotary gqa",
        {
            "layers": "model.layers",
            "attention": "self_attn",
            "output_projection": "self_attn.o_proj",
            "mlp_output": "mlp.down_proj",
        },
        {"text_config": IDS | LLAMA},
        text_type="emu3_text_model",
    ),
    other("gpt-sw3", "bias positions", _GPT2_PATHS, _GPT2, text_type="gpt2"),
)
