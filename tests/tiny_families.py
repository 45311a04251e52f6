"""Tiny models of many families with every weight drawn at random, so that no part of attention can hide.

A default initialisation makes tests blind: scores lie near 0 and biases are 0, so a capture that drops
the scaling, the softcap or a bias still passes. Here every weight, bias and norm is drawn from a local
generator, and the query and key weights are then rescaled, layer by layer, until the softmax input has a
standard deviation of 2 to 6.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from drawn_weights import draw_weights
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

VOCABULARY = 97
WINDOW = 8
HEADS = 4
CONTEXT = 128

_IDS: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_SLIDING_THEN_FULL = ["sliding_attention", "full_attention", "sliding_attention"]


def _gpt2_like(model_type: str, **changes: Any) -> Callable[[], PreTrainedConfig]:
    settings: dict[str, Any] = {"n_embd": 32, "n_layer": 3, "n_head": HEADS, "n_positions": CONTEXT}
    return _config(model_type, settings | changes)


def _llama_like(model_type: str, **changes: Any) -> Callable[[], PreTrainedConfig]:
    settings: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
    }
    return _config(model_type, settings | changes)


def _config(model_type: str, settings: dict[str, Any]) -> Callable[[], PreTrainedConfig]:
    return lambda: AutoConfig.for_model(model_type, **copy.deepcopy(_IDS | settings))


_GEMMA: dict[str, Any] = {"head_dim": 12, "sliding_window": WINDOW, "layer_types": _SLIDING_THEN_FULL}
_FALCON: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": HEADS,
    "max_position_embeddings": CONTEXT,
    "ffn_hidden_size": 48,
}

FAMILIES: dict[str, Callable[[], PreTrainedConfig]] = {
    "gpt2": _gpt2_like("gpt2"),
    "gpt2_inverse_layer": _gpt2_like("gpt2", scale_attn_by_inverse_layer_idx=True),
    "gpt_bigcode": _gpt2_like("gpt_bigcode", multi_query=True),
    "gpt_bigcode_multi_head": _gpt2_like("gpt_bigcode", multi_query=False),
    "gpt_neo": _config(
        "gpt_neo",
        {
            "hidden_size": 32,
            "num_layers": 4,
            "num_heads": HEADS,
            "attention_types": [[["global", "local"], 2]],
            "window_size": WINDOW,
            "max_position_embeddings": CONTEXT,
        },
    ),
    "gptj": _gpt2_like("gptj", n_embd=64, rotary_dim=8),
    "gpt_neox": _llama_like("gpt_neox", hidden_size=64, rotary_pct=0.25, num_key_value_heads=HEADS),
    "opt": _config(
        "opt",
        {
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "ffn_dim": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": HEADS,
            "max_position_embeddings": CONTEXT,
        },
    ),
    "xglm": _config(
        "xglm",
        {
            "d_model": 32,
            "ffn_dim": 48,
            "num_layers": 3,
            "attention_heads": HEADS,
            "max_position_embeddings": CONTEXT,
        },
    ),
    "bloom": _config("bloom", {"hidden_size": 32, "n_layer": 3, "n_head": HEADS}),
    "codegen": _gpt2_like("codegen", n_embd=64, rotary_dim=8, n_ctx=CONTEXT),
    "mpt": _config("mpt", {"d_model": 32, "n_heads": HEADS, "n_layers": 3, "max_seq_len": CONTEXT}),
    "falcon": _config("falcon", _FALCON | {"multi_query": True, "bias": True}),
    "falcon_grouped": _config("falcon", _FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon_alibi": _config(
        "falcon", _FALCON | {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True}
    ),
    "llama": _llama_like("llama"),
    "llama_bias": _llama_like("llama", attention_bias=True, head_dim=12),
    "mistral": _llama_like("mistral", sliding_window=WINDOW),
    "qwen2": _llama_like("qwen2"),
    "qwen2_sliding": _llama_like(
        "qwen2", use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
    ),
    "qwen3": _llama_like("qwen3", head_dim=12),
    "gemma": _llama_like("gemma", head_dim=12, num_key_value_heads=1),
    "gemma2": _llama_like("gemma2", **_GEMMA, query_pre_attn_scalar=20, attn_logit_softcapping=6.0),
    "gemma3_text": _llama_like("gemma3_text", **_GEMMA, query_pre_attn_scalar=20),
    "phi": _llama_like("phi", hidden_size=64, num_key_value_heads=HEADS),
    "phi_qk_norm": _llama_like("phi", hidden_size=64, qk_layernorm=True),
    "phi3": _llama_like("phi3", sliding_window=WINDOW, original_max_position_embeddings=CONTEXT),
    "olmo2": _llama_like("olmo2"),
    "stablelm": _llama_like("stablelm", hidden_size=64, use_qkv_bias=True),
    "stablelm_qk_norm": _llama_like(
        "stablelm", hidden_size=64, qk_layernorm=True, use_parallel_residual=True
    ),
    "starcoder2": _llama_like("starcoder2", sliding_window=WINDOW),
    "cohere": _llama_like("cohere", logit_scale=0.5),
    "cohere_qk_norm": _llama_like("cohere", logit_scale=0.5, use_qk_norm=True),
    "granite": _llama_like("granite", attention_multiplier=0.2, residual_multiplier=0.7),
    "gpt_oss": _llama_like(
        "gpt_oss",
        head_dim=16,
        sliding_window=WINDOW,
        layer_types=_SLIDING_THEN_FULL,
        num_local_experts=3,
        num_experts_per_tok=2,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 150000.0,
            "factor": 4.0,
            "original_max_position_embeddings": CONTEXT // 4,
        },
    ),
    "smollm3": _llama_like("smollm3", no_rope_layers=[1, 0, 1]),
    "mixtral": _llama_like("mixtral", sliding_window=WINDOW, num_local_experts=3, num_experts_per_tok=2),
    "qwen3_moe": _llama_like(
        "qwen3_moe",
        head_dim=12,
        moe_intermediate_size=24,
        num_experts=3,
        num_experts_per_tok=2,
        norm_topk_prob=True,
    ),
    "olmo": _llama_like("olmo", clip_qkv=6.0),
    "olmo3": _llama_like("olmo3", sliding_window=WINDOW, layer_types=_SLIDING_THEN_FULL),
    "cohere2": _llama_like("cohere2", logit_scale=0.5, sliding_window=WINDOW, layer_types=_SLIDING_THEN_FULL),
    "exaone4": _llama_like("exaone4", sliding_window=WINDOW, layer_types=_SLIDING_THEN_FULL),
    "seed_oss": _llama_like("seed_oss", head_dim=12, attention_bias=True),
}
"""One tiny configuration a name: every architecture, and variants of it that compute attention otherwise."""

_NORMAL = {"scaling", "mask"}
FEATURES: dict[str, frozenset[str]] = {
    name: frozenset(_NORMAL | set(extra.split()))
    for name, extra in {
        "gpt2": "bias",
        "gpt2_inverse_layer": "bias",
        "gpt_bigcode": "bias",
        "gpt_bigcode_multi_head": "bias",
        "gptj": "rotary",
        "gpt_neox": "bias rotary",
        "opt": "bias",
        "xglm": "bias",
        "bloom": "bias alibi",
        "codegen": "rotary",
        "mpt": "alibi",
        "falcon": "bias rotary",
        "falcon_grouped": "rotary",
        "falcon_alibi": "bias alibi",
        "llama": "rotary gqa",
        "llama_bias": "bias rotary gqa",
        "mistral": "window rotary gqa",
        "qwen2": "bias rotary gqa",
        "qwen2_sliding": "bias window rotary gqa",
        "qwen3": "rotary qk_norm gqa",
        "gemma": "rotary",
        "gemma2": "softcap window rotary gqa",
        "gemma3_text": "window rotary qk_norm gqa",
        "phi": "bias rotary",
        "phi_qk_norm": "bias rotary qk_norm gqa",
        "phi3": "window rotary gqa",
        "olmo2": "rotary qk_norm gqa",
        "stablelm": "bias rotary gqa",
        "stablelm_qk_norm": "rotary qk_norm gqa",
        "starcoder2": "bias window rotary gqa",
        "cohere": "rotary gqa",
        "cohere_qk_norm": "rotary qk_norm gqa",
        "granite": "rotary gqa",
        "gpt_oss": "bias window rotary sinks gqa",
        "smollm3": "rotary gqa",
        "mixtral": "window rotary gqa",
        "qwen3_moe": "rotary qk_norm gqa",
        "olmo": "rotary gqa",
        "olmo3": "window rotary qk_norm gqa",
        "cohere2": "window rotary gqa",
        "exaone4": "window rotary qk_norm gqa",
        "seed_oss": "bias rotary gqa",
    }.items()
} | {"gpt_neo": frozenset({"mask", "window"})}
"""What shapes each family's softmax input (sinks: its output). GPT-Neo does not scale. "bias" is one on
the query and key projections; "gqa" means that several key heads each serve a group of query heads (a
single key head for all, as in Gemma, GPT-BigCode and Falcon here, cannot be assigned wrongly)."""


def build(name: str, seed: int = 0) -> PreTrainedModel:
    """The tiny model of a family: fp32, CPU, eval mode, its default attention implementation.

    The model is shared by every test of the process: take `fresh` to change one.
    """
    return _build_once(name, seed)


def fresh(name: str, seed: int = 0) -> PreTrainedModel:
    """A private copy of `build(name, seed)`."""
    return copy.deepcopy(build(name, seed))


def build_anew(name: str, seed: int = 0) -> PreTrainedModel:
    """What `build` returns, drawn again."""
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(FAMILIES[name](), dtype=torch.float32).eval()
    draw_weights(model, torch.Generator().manual_seed(seed * 1009 + sum(name.encode())), VOCABULARY)
    return model


_build_once = functools.cache(build_anew)


def random_ids(length: int, seed: int) -> list[int]:
    """Token ids without the special ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()


def prompts(name: str, seed: int = 0, lengths: tuple[int, ...] = (13, 21, 30, 17)) -> list[list[int]]:
    """Prompts of different lengths, each longer than the sliding window and none a prefix of another."""
    return [random_ids(length, 7919 * (seed + 1) + 31 * sum(name.encode()) + length) for length in lengths]


def prefix(name: str, seed: int = 0, length: int = 25) -> list[int]:
    """A prefix to be shared by prompts."""
    return random_ids(length, 104729 * (seed + 1) + sum(name.encode()))
