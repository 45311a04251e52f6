"""What is written down by hand about one model type: a tiny configuration, its layout, what shapes its scores."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from eager_oracle import Layout
from transformers import AutoConfig, PreTrainedConfig

VOCABULARY = 97
WINDOW = 8
HEADS = 4
CONTEXT = 128

IDS: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}
SLIDING, FULL = "sliding_attention", "full_attention"
MIXED = [SLIDING, FULL, SLIDING]

_LLAMA_PATHS: dict[str, Any] = {
    "layers": "model.layers",
    "attention": "self_attn",
    "output_projection": "self_attn.o_proj",
    "mlp_output": "mlp.down_proj",
}


@dataclass(frozen=True)
class Decoder:
    """One tiny model."""

    model_type: str
    settings: dict[str, Any] = field(repr=False)
    layout: Layout
    features: frozenset[str]
    """What shapes the softmax input (sinks: its output), each with an entry in `removed_features.REMOVE`."""
    windows: tuple[int, ...] = ()
    """The decoder layers that see the last `WINDOW` keys alone."""
    chunks: tuple[int, ...] = ()
    """The decoder layers that see the keys of their own chunk of `WINDOW` alone."""
    text_type: str | None = None
    """The model type of the model's own configuration, where it is that of a wrapper's text decoder."""
    seed: int = 0
    """Of its weights: another one where these routed a token by less than the rounding."""
    shares_prefix: bool = True
    """Whether a capture can run a prefix once for several prompts."""

    @property
    def layout_name(self) -> str:
        """What the oracle knows the layout by."""
        return self.text_type or self.model_type

    def config(self) -> PreTrainedConfig:
        """The tiny configuration."""
        return AutoConfig.for_model(self.model_type, **copy.deepcopy(self.settings))


def like_llama(
    model_type: str,
    features: str = "",
    *,
    paths: dict[str, Any] | None = None,
    windows: tuple[int, ...] = (),
    chunks: tuple[int, ...] = (),
    text_type: str | None = None,
    seed: int = 0,
    shares_prefix: bool = True,
    **changes: Any,
) -> Decoder:
    """A decoder whose configuration and layout are Llama's but for some changes.

    Args:
        model_type: The model type.
        features: Features besides scaling, mask and rotary embedding; ``-`` before one takes it away.
        paths: Changes to the layout.
        windows: See `Decoder`, as the rest.
        chunks: Chunked layers.
        text_type: The text decoder's own type.
        seed: Of the weights.
        shares_prefix: Whether a prefix can be shared.
        changes: Changes to the configuration; None leaves a key out.
    """
    settings = {key: value for key, value in (IDS | LLAMA | changes).items() if value is not None}
    return Decoder(
        model_type,
        settings,
        Layout(**(_LLAMA_PATHS | (paths or {}))),
        features_of("scaling mask rotary " + features),
        windows,
        chunks,
        text_type,
        seed,
        shares_prefix,
    )


def other(
    model_type: str,
    features: str,
    paths: dict[str, Any],
    settings: dict[str, Any],
    *,
    windows: tuple[int, ...] = (),
    text_type: str | None = None,
    shares_prefix: bool = True,
) -> Decoder:
    """A decoder with a configuration and layout of its own; scaling and mask are features of every one."""
    return Decoder(
        model_type,
        IDS | settings,
        Layout(**paths),
        features_of("scaling mask " + features),
        windows,
        text_type=text_type,
        shares_prefix=shares_prefix,
    )


def features_of(named: str) -> frozenset[str]:
    """The features of a text such as ``scaling mask window -scaling``."""
    words = named.split()
    return frozenset(word for word in words if word[0] != "-" and f"-{word}" not in words)


def by_name(*decoders: Decoder, **variants: Decoder) -> dict[str, Decoder]:
    """Decoders by model type, variants by their own names."""
    table = {decoder.model_type: decoder for decoder in decoders}
    assert len(table) == len(decoders)
    return table | variants
