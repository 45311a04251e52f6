"""Tiny models whose rotation depends on how long a text is, and what each of them says of a text by itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
)

VOCABULARY, BOUNDARY, CONTEXT = 97, 48, 192
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LONGROPE: dict[str, Any] = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [1.0, 3.0, 8.0, 20.0],
    "original_max_position_embeddings": BOUNDARY,
}
_DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}


def _phi3() -> PreTrainedModel:
    config = Phi3Config(
        **_SIZES,
        max_position_embeddings=CONTEXT,
        original_max_position_embeddings=BOUNDARY,
        rope_parameters=_LONGROPE,
    )
    return Phi3ForCausalLM(config)


def _llama(parameters: dict[str, Any], context: int) -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(**_SIZES, max_position_embeddings=context, rope_parameters=dict(parameters))
    )


def _gemma3() -> PreTrainedModel:
    """Layers of two kinds, of which only one depends on the length."""
    config = Gemma3TextConfig(
        **_SIZES,
        head_dim=8,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=BOUNDARY,
        rope_parameters={
            "full_attention": dict(_DYNAMIC),
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    )
    return Gemma3ForCausalLM(config)


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "phi3, LongRoPE": _phi3,
    "llama, LongRoPE": lambda: _llama(_LONGROPE, CONTEXT),
    "llama, dynamic NTK": lambda: _llama(_DYNAMIC, BOUNDARY),
    "gemma3, dynamic NTK in some layers": _gemma3,
}


def build(name: str) -> Any:
    """A new model, in which nothing has run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


def ids(length: int, seed: int = 0) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(1000 * seed + length)
    return tuple(torch.randint(3, VOCABULARY, (length,), generator=generator).tolist())


def logits_alone(name: str, text: Sequence[int]) -> torch.Tensor:
    """The logits ``[S, V]`` of one text in a model that never saw another."""
    with torch.no_grad():
        return build(name)(torch.tensor([text]), use_cache=False).logits[0]


def attention_outputs_alone(model: Any, text: Sequence[int]) -> torch.Tensor:
    """What each layer's attention adds at each token of one text, ``[L, S, d]``, in a copy of the model."""
    model = copy.deepcopy(model)
    seen: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.self_attn.o_proj.register_forward_hook(lambda _, __, output: seen.append(output[0]))
    with torch.no_grad():
        model(torch.tensor([text]), use_cache=False)
    return torch.stack(seen)
