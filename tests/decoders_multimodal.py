"""Text decoders that transformers only has inside a model that also sees or hears: each stands in its own wrapper."""

from __future__ import annotations

from typing import Any

from decoder import IDS, LLAMA, MIXED, WINDOW, Decoder, by_name, features_of
from eager_oracle import Layout
from shrunk_configs import shrunk

_EXPERTS: dict[str, Any] = {"moe_intermediate_size": 24, "num_experts_per_tok": 2}
_SECTIONS: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
"""Rotation by time, height and width, which all count tokens in a text."""


def _wrapped(
    model_type: str,
    features: str = "gqa",
    *,
    layers: str = "model.language_model.layers",
    mlp_output: str = "mlp.down_proj",
    windows: tuple[int, ...] = (),
    **changes: Any,
) -> Decoder:
    text = {
        key: value for key, value in (IDS | LLAMA | {"head_dim": 8} | changes).items() if value is not None
    }
    return Decoder(
        model_type,
        shrunk(model_type, lambda _: text),
        Layout(layers, "self_attn", "self_attn.o_proj", mlp_output),
        features_of("scaling mask rotary " + features),
        windows,
    )


MULTIMODAL = by_name(
    _wrapped("qwen2_vl", "bias gqa", rope_parameters=_SECTIONS),
    _wrapped("qwen2_5_vl", "bias gqa", rope_parameters=_SECTIONS),
    _wrapped("qwen2_5_omni_thinker", "bias gqa", rope_parameters=_SECTIONS),
    _wrapped("qwen3_vl", "qk_norm gqa", rope_parameters=_SECTIONS),
    _wrapped(
        "qwen3_vl_moe", "qk_norm gqa", mlp_output="mlp", rope_parameters=_SECTIONS, num_experts=4, **_EXPERTS
    ),
    _wrapped(
        "qwen3_omni_moe_thinker",
        "qk_norm gqa",
        mlp_output="mlp",
        rope_parameters=_SECTIONS,
        num_experts=4,
        **_EXPERTS,
    ),
    _wrapped("glm4v", "bias gqa", rope_parameters=_SECTIONS),
    _wrapped(
        "glm4v_moe",
        "bias gqa",
        mlp_output="mlp",
        head_dim=16,
        attention_bias=True,
        rope_parameters=_SECTIONS,
        n_routed_experts=4,
        n_shared_experts=1,
        first_k_dense_replace=1,
        **_EXPERTS,
    ),
    _wrapped("glm_ocr", rope_parameters=_SECTIONS),
    _wrapped("cosmos3_edge", mlp_output="mlp.fc2", rope_parameters=_SECTIONS),
    _wrapped("granite_docling", layers="model.text_model.layers", head_dim=None),
    _wrapped("paddleocr_vl", rope_parameters=_SECTIONS),
    _wrapped(
        "muse_glimmer",
        "window qk_norm gqa",
        windows=(0, 2),
        qk_scale_factor=2.5,
        output_multiplier=1.0,
        sliding_window=WINDOW,
        layer_types=MIXED,
    ),
)
