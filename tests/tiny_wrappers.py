"""Tiny models that see or hear besides reading: the wrappers of transformers around a text decoder, all shrunk alike."""

from __future__ import annotations

import copy
from typing import Any

import tiny_families
from decoder import IDS, LLAMA, VOCABULARY
from tiny_decoders import DECODERS
from transformers import AutoConfig, PreTrainedConfig

_TOWER: dict[str, int] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "embed_dim": 16,
    "d_model": 16,
    "depth": 2,
    "n_layers": 2,
    "num_blocks": 2,
    "num_heads": 2,
    "n_heads": 2,
    "mlp_ratio": 2,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "image_size": 28,
    "patch_size": 14,
    "num_position_embeddings": 16,
    "max_position_embeddings": 128,
    "projector_hidden_size": 16,
    "vocab_size": VOCABULARY,
    "out_hidden_size": 32,
    "projection_dim": 32,
    "text_hidden_size": 32,
    "output_dim": 32,
    "vision_output_dim": 32,
}
"""Sizes of towers, and of what leads from them to the width of the text decoder, by their names in configurations."""
_SPECIAL = 90
"""The id of every token that stands for an image or a sound: no prompt holds it."""


def config_of(model_type: str) -> PreTrainedConfig:
    """The tiny configuration of a wrapper; its text decoder is the one that is tested by itself."""
    given = AutoConfig.for_model(model_type)
    settings = _shrunk(given) | {key: value for key, value in IDS.items() if key != "vocab_size"}
    for key in given.to_dict():
        if key.endswith(("_token_id", "_token_index")) and key not in settings:
            settings[key] = _SPECIAL
    return AutoConfig.for_model(model_type, **settings)


def _shrunk(config: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, value in config.to_dict().items():
        part = getattr(config, key, None)
        if isinstance(part, PreTrainedConfig):
            small = _text_settings(part.model_type) if "text" in key else _shrunk(part)
            settings[key] = {"model_type": part.model_type} | small
        elif key in _TOWER and type(value) in (int, float):
            settings[key] = type(value)(_TOWER[key])
    return settings


def _text_settings(model_type: str) -> dict[str, Any]:
    if model_type in DECODERS:
        return copy.deepcopy(DECODERS[model_type].settings)
    if model_type in tiny_families.FAMILIES:
        return tiny_families.FAMILIES[model_type]().to_diff_dict()
    return IDS | LLAMA
