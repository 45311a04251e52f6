"""GGUF files of tiny models, written as llama.cpp's converter writes them (convert_hf_to_gguf.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from transformers import PreTrainedModel

TOKENS = (
    "<unk>",
    "<s>",
    "</s>",
    *"abcdefghijklmnopqrstuvwxyzĠ",
    "th",
    "the",
    "Ġthe",
    "in",
    "Ġin",
    "an",
    "Ġan",
)
MERGES = ("t h", "th e", "Ġ the", "i n", "Ġ in", "a n", "Ġ an")
"""A byte-level vocabulary and how it is merged, the best first."""

Change = Callable[[gguf.GGUFWriter], None]


def write_gguf(
    model: PreTrainedModel,
    path: Path,
    kind: Kind = Kind.F32,
    *,
    tokens: bool = True,
    drop: tuple[str, ...] = (),
    change: Change | None = None,
    settings: dict[str, Any] | None = None,
) -> Path:
    """Write a model as llama.cpp has it.

    Args:
        model: A Llama, Qwen2, Gemma 3 or GPT-2.
        path: Where to.
        kind: What its matrices are stored as, where a row is a whole number of blocks; the rest is F32, as always.
        tokens: Whether a tokenizer stands in it.
        drop: Tensors that are left out.
        change: Adds to the file before it is written.
        settings: Settings of the architecture in place of, or beside, the model's.
    """
    config: Any = model.config
    arch = config.model_type.removesuffix("_text")
    writer = gguf.GGUFWriter(str(path), arch)
    for key, value in (_settings(config) | (settings or {})).items():
        if isinstance(value, str):
            writer.add_string(f"{arch}.{key}", value)
        elif value is not None:
            add: Any = writer.add_float32 if isinstance(value, float) else writer.add_uint32
            add(f"{arch}.{key}", value)
    if tokens:
        _add_tokenizer(writer, config.vocab_size)
    names = gguf.get_tensor_name_map(
        next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == arch), len_of(config)
    )
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    for name, tensor in model.state_dict().items():
        if name in tied or name.endswith((".attn.bias", ".attn.masked_bias")):
            continue
        called = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert called is not None
        if called in drop:
            continue
        values = _as_llama_cpp(name, tensor, config)
        stored = kind if values.ndim == 2 and fits(values, kind) else Kind.F32
        writer.add_tensor(called, gguf.quantize(values, stored), raw_dtype=stored)
    if change is not None:
        change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def fits(values: np.ndarray[Any, Any], kind: Kind) -> bool:
    return values.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0


def len_of(config: Any) -> int:
    return config.num_hidden_layers


def _settings(config: Any) -> dict[str, Any]:
    if config.model_type == "gpt2":
        return {
            "context_length": config.n_positions,
            "embedding_length": config.n_embd,
            "feed_forward_length": 4 * config.n_embd,
            "block_count": config.n_layer,
            "attention.head_count": config.n_head,
            "attention.layer_norm_epsilon": config.layer_norm_epsilon,
        }
    rotation, width = config.rope_parameters, getattr(config, "head_dim", None)
    if config.model_type == "gemma3_text":
        rotation, more = (
            rotation["full_attention"],
            {
                "attention.key_length": width,
                "attention.value_length": width,
                "attention.sliding_window": config.sliding_window,
            },
        )
    else:
        more = {"rope.dimension_count": width or config.hidden_size // config.num_attention_heads}
    return {
        **more,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": float(rotation["rope_theta"]),
        "vocab_size": config.vocab_size,
    }


def _as_llama_cpp(name: str, tensor: torch.Tensor, config: Any) -> np.ndarray[Any, Any]:
    """Return a tensor's entries in the order in which llama.cpp's converter writes them."""
    values: np.ndarray[Any, Any] = tensor.detach().float().numpy()
    if config.model_type == "llama" and ".q_proj." in name:
        return _permuted(values, config.num_attention_heads)
    if config.model_type == "llama" and ".k_proj." in name:
        return _permuted(values, config.num_key_value_heads)
    if config.model_type == "gemma3_text" and name.endswith("norm.weight"):
        return values + 1
    if config.model_type == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return np.ascontiguousarray(values.T)
    return values


def _permuted(weights: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """`LlamaModel.permute` of convert_hf_to_gguf.py: the halves of a rotation side by side."""
    return np.ascontiguousarray(
        weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
        .swapaxes(1, 2)
        .reshape(weights.shape)
    )


def _add_tokenizer(writer: gguf.GGUFWriter, size: int) -> None:
    filled = [*TOKENS, *(f"[PAD{place}]" for place in range(len(TOKENS), size))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(filled)
    writer.add_token_types([3, 3, 3, *([1] * (len(TOKENS) - 3)), *([5] * (size - len(TOKENS)))])
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
