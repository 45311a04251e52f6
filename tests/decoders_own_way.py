"""Decoders that compute attention in their own way: by their own softmax, twice a layer, or with a bias by key."""

from __future__ import annotations

from decoder import CONTEXT, HEADS, by_name, like_llama, other

OWN_WAY = by_name(
    other(
        "biogpt",
        "bias positions",
        {
            "layers": "biogpt.layers",
            "attention": "self_attn",
            "output_projection": "self_attn.out_proj",
            "mlp_output": "fc2",
        },
        {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": HEADS,
            "max_position_embeddings": CONTEXT,
        },
    ),
    other(
        "ctrl",
        "bias positions",
        {
            "layers": "transformer.h",
            "attention": "multi_head_attention",
            "output_projection": "multi_head_attention.dense",
            "mlp_output": "ffn.2",
        },
        {"n_embd": 32, "dff": 48, "n_layer": 3, "n_head": HEADS, "n_positions": CONTEXT},
    ),
    like_llama("doge", "bias qk_norm key_bias gqa", attention_bias=True, keep_window_size=CONTEXT),
    other(
        "gpt_neox_japanese",
        "rotary",
        {
            "layers": "gpt_neox_japanese.layers",
            "attention": "attention",
            "output_projection": "attention.dense",
            "mlp_output": "mlp.dense_4h_to_h",
            "output_bias": "attention.dense_bias",
        },
        {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": HEADS,
            "intermediate_multiple_size": 2,
            "max_position_embeddings": CONTEXT,
        },
    ),
    other(
        "openai-gpt",
        "bias positions",
        {
            "layers": "transformer.h",
            "attention": "attn",
            "output_projection": "attn.c_proj",
            "mlp_output": "mlp.c_proj",
            "hidden_below": -9000.0,
        },
        {"n_embd": 32, "n_layer": 3, "n_head": HEADS, "n_positions": CONTEXT},
        shares_prefix=False,
    ),
)
