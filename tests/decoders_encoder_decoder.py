"""The decoders of models with an encoder, each running by itself."""

from __future__ import annotations

from typing import Any

from decoder import CONTEXT, HEADS, Decoder, by_name, other

_SETTINGS: dict[str, Any] = {
    "d_model": 32,
    "decoder_layers": 3,
    "decoder_ffn_dim": 48,
    "decoder_attention_heads": HEADS,
    "encoder_layers": 3,
    "encoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "max_position_embeddings": CONTEXT,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": 2,
}
_PATHS: dict[str, Any] = {
    "layers": "model.decoder.layers",
    "attention": "self_attn",
    "output_projection": "self_attn.out_proj",
    "mlp_output": "fc2",
}


def _like_bart(model_type: str, features: str = "bias positions", **changes: Any) -> Decoder:
    return other(model_type, features, _PATHS, _SETTINGS | changes)


ENCODER_DECODERS = by_name(
    _like_bart("bart"),
    _like_bart("bigbird_pegasus", "positions"),
    _like_bart("blenderbot"),
    _like_bart("blenderbot-small"),
    _like_bart("marian", decoder_vocab_size=97),
    _like_bart("mbart", scale_embedding=True),
    _like_bart("mvp"),
    _like_bart("pegasus"),
    _like_bart("plbart"),
    _like_bart("trocr"),
)
