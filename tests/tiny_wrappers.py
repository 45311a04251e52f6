"""Tiny models that see or hear besides reading: the wrappers of transformers around a text decoder."""

from __future__ import annotations

from typing import Any

import tiny_families
from decoders_multimodal import MULTIMODAL
from shrunk_configs import shrunk
from tiny_decoders import DECODERS
from transformers import AutoConfig, PreTrainedConfig


def config_of(model_type: str) -> PreTrainedConfig:
    """The tiny configuration of a wrapper; its text decoder is one that is tested by itself."""
    return AutoConfig.for_model(model_type, **shrunk(model_type, _text_settings))


def _text_settings(model_type: str) -> dict[str, Any]:
    if model_type in tiny_families.FAMILIES:
        return tiny_families.FAMILIES[model_type]().to_diff_dict()
    if model_type in DECODERS:
        return DECODERS[model_type].settings
    parts = [decoder.settings["text_config"] for decoder in MULTIMODAL.values()]
    return next(part for part in parts if part["model_type"] == model_type)
