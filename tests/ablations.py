"""Tiny models that lack one feature of their attention: tests must tell them from the whole model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tiny_families
import torch
from removed_features import REMOVE, subject
from tiny_families import CONTEXT, FAMILIES
from transformers import AutoModelForCausalLM


@contextlib.contextmanager
def without(name: str, feature: str) -> Iterator[torch.nn.Module]:
    """A copy of the family's tiny model, running eagerly, in which one feature of its attention is missing.

    Some features live in a function of the modelling file, so the copy lacks them only inside the context.
    """
    with contextlib.ExitStack() as undo, torch.no_grad():
        copied = subject(tiny_families.build(name), undo)
        model, attentions = copied.model, copied.attentions
        if feature == "scaling" and name.startswith("falcon"):
            for attention in attentions:
                for parameter in attention.query_key_value.parameters():
                    parameter.mul_(attention.head_dim**0.25)
        elif feature == "window":
            model = _rebuilt(name, window_size=CONTEXT, sliding_window=CONTEXT)
        elif feature == "softcap":
            model = _rebuilt(name, attn_logit_softcapping=None)
        elif feature == "rotary" and name in {"gptj", "codegen"}:
            for attention in attentions:
                sine, cosine = attention.embed_positions.chunk(2, dim=-1)
                attention.embed_positions = torch.cat([torch.zeros_like(sine), torch.ones_like(cosine)], -1)
        elif feature == "alibi":
            builders = {"mpt": "build_mpt_alibi_tensor", "bloom": "_get_alibi_slopes"}
            builder = builders.get(name, "build_alibi_tensor")
            original = getattr(copied.source, builder)
            copied.replace(builder, lambda *given, **options: original(*given, **options) * 0)
        else:
            REMOVE[feature](copied)
        yield model


def _rebuilt(name: str, **changes: Any) -> torch.nn.Module:
    config = FAMILIES[name]()
    for key, value in changes.items():
        if hasattr(config, key):
            setattr(config, key, value)
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation="eager"
        ).eval()
    model.load_state_dict(tiny_families.build(name).state_dict())
    return model
