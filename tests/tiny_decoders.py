"""Tiny models of the other model types of the table, each tested once against the oracle.

`tiny_families` holds the models that the whole suite runs over; these are as small and as random, but only
`test_tiny_decoders` and `hooks/test_every_decoder` run over them, for there are many.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import eager_oracle
import torch
from decoder import VOCABULARY, Decoder
from decoders_encoder_decoder import ENCODER_DECODERS
from decoders_experts import EXPERTS
from decoders_hybrid import HYBRID
from decoders_latent import LATENT
from decoders_multimodal import MULTIMODAL
from decoders_own_way import OWN_WAY
from decoders_plain import PLAIN
from decoders_windowed import WINDOWED
from drawn_weights import draw_weights
from tiny_families import random_ids
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

DECODERS: dict[str, Decoder] = (
    PLAIN | WINDOWED | EXPERTS | OWN_WAY | LATENT | HYBRID | ENCODER_DECODERS | MULTIMODAL
)
"""One tiny configuration a name, which is the model type, or begins with it and names a variant."""

for _decoder in DECODERS.values():
    eager_oracle.add_layout(_decoder.layout_name, _decoder.layout)


@functools.cache
def build(name: str) -> PreTrainedModel:
    """The tiny model of a decoder: fp32, CPU, eval mode, its default attention; shared by all tests."""
    with torch.random.fork_rng(devices=[]):
        config = DECODERS[name].config()
        text_alone = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        model_class: Any = AutoModelForCausalLM if text_alone else AutoModelForMultimodalLM
        model = model_class.from_config(config, dtype=torch.float32).eval()
    seed = DECODERS[name].seed
    draw_weights(model, torch.Generator().manual_seed(seed * 1009 + sum(name.encode())), VOCABULARY)
    return model


def fresh(name: str) -> Any:
    """A private copy of `build(name)`."""
    return copy.deepcopy(build(name))


def prompts(name: str, lengths: tuple[int, ...] = (11, 19, 15)) -> tuple[tuple[int, ...], ...]:
    """Prompts of different lengths, each longer than the sliding window."""
    return tuple(tuple(random_ids(length, 7919 + sum(name.encode()) + length)) for length in lengths)


def prefix(name: str, length: int = 14) -> tuple[int, ...]:
    """A prefix to be shared by prompts, longer than the sliding window."""
    return tuple(random_ids(length, 104729 + sum(name.encode())))
