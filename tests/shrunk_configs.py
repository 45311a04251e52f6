"""Any configuration of transformers around a text decoder, made tiny: its towers are all shrunk alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from decoder import IDS, VOCABULARY
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


def shrunk(model_type: str, text_settings: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """The settings of a tiny wrapper.

    Args:
        model_type: The wrapper's.
        text_settings: Gives those of a text decoder of some model type.
    """
    given = AutoConfig.for_model(model_type)
    settings = _shrunk(given, text_settings) | {
        key: value for key, value in IDS.items() if key != "vocab_size"
    }
    # Omni models read an entry that only the configurations of their checkpoints have.
    for key in ("vision_start_token_id", *given.to_dict()):
        if key.endswith(("_token_id", "_token_index")) and key not in settings:
            settings[key] = _SPECIAL
    return settings


def _shrunk(config: Any, text_settings: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, value in config.to_dict().items():
        part = getattr(config, key, None)
        if isinstance(part, PreTrainedConfig):
            text = "text" in key
            small = copy.deepcopy(text_settings(part.model_type)) if text else _shrunk(part, text_settings)
            settings[key] = {"model_type": part.model_type} | small
        elif key in _TOWER and type(value) in (int, float):
            settings[key] = type(value)(_TOWER[key])
    return settings
