"""Tiny models that see or hear besides reading: transformers' wrappers around text decoders that are tested alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import eager_oracle
import tiny_families
import torch
from decoder import IDS, LLAMA, VOCABULARY
from decoders_multimodal import MULTIMODAL
from drawn_weights import draw_weights
from shrunk_configs import shrunk
from tiny_decoders import DECODERS
from transformers import AutoConfig, AutoModelForMultimodalLM, PreTrainedConfig, PreTrainedModel

_USUALLY = """
aria aya_vision cohere2_vision cosmos3_omni deepseek_vl exaone4_5 fuyu gemma3 gemma4 gemma4_unified glm46v glmasr
hyperclovax_vision_v2 internvl kimi_k25 lfm2_vl lfm3_vl lighton_ocr llava llava_next llava_onevision minicpmv4_6
mistral3 moss_transcribe_diarize ovis2 qianfan_ocr qwen2_audio qwen3_5 qwen3_5_moe qwen3_asr video_llama_3
video_llava vipllava voxtral
"""
WRAPPERS: dict[str, str] = {
    **dict.fromkeys(_USUALLY.split(), "model.language_model.layers"),
    **dict.fromkeys(("idefics2", "idefics3", "smolvlm"), "model.text_model.layers"),
    "llama4": "language_model.model.layers",
    **{name: decoder.layout.layers for name, decoder in MULTIMODAL.items()},
}
"""Where the text decoder's layers lie in each."""
_SEEDS = {"qwen3_5": 2, "qwen3_5_moe": 4, "muse_glimmer": 1}
"""Other weights where these lost too many digits."""
_INSIDE = {decoder.settings["text_config"]["model_type"]: decoder for decoder in MULTIMODAL.values()}
"""By the model type of the text decoder itself."""

for _name, _layers in WRAPPERS.items():
    if _name not in MULTIMODAL:
        _type = AutoConfig.for_model(_name).get_text_config().model_type
        _layout = _INSIDE[_type].layout if _type in _INSIDE else eager_oracle.layout_named(_type)
        eager_oracle.add_layout(_name, replace(_layout, layers=_layers))


def config_of(model_type: str) -> PreTrainedConfig:
    """The tiny configuration of a wrapper."""
    return AutoConfig.for_model(model_type, **shrunk(model_type, _text_settings))


def build(model_type: str) -> PreTrainedModel:
    """The tiny model of a wrapper with all that it sees and hears; the weights of its text decoder are drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForMultimodalLM.from_config(config_of(model_type), dtype=torch.float32).eval()
    seed = _SEEDS.get(model_type, 0) * 1009 + sum(model_type.encode())
    decoder = WRAPPERS[model_type].rpartition(".")[0]
    draw_weights(model, torch.Generator().manual_seed(seed), VOCABULARY, within=decoder)
    return model


def _text_settings(model_type: str) -> dict[str, Any]:
    if model_type in tiny_families.FAMILIES:
        return tiny_families.FAMILIES[model_type]().to_diff_dict()
    if model_type in DECODERS:
        return DECODERS[model_type].settings
    return _INSIDE[model_type].settings["text_config"] if model_type in _INSIDE else IDS | LLAMA
