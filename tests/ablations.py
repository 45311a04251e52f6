"""Tiny models that lack one feature of their attention: tests must tell them from the whole model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import eager_oracle
import tiny_families
import torch
from tiny_families import CONTEXT, FAMILIES
from transformers import AutoModelForCausalLM


@contextlib.contextmanager
def without(name: str, feature: str) -> Iterator[torch.nn.Module]:
    """A copy of the family's tiny model, running eagerly, in which one feature of its attention is missing.

    Some features live in a function of the modelling file, so the copy lacks them only inside the context.
    """
    model: Any = eager_oracle.eager_copy(tiny_families.build(name))
    layout = eager_oracle.layout_of(model)
    attentions: list[Any] = [
        layer.get_submodule(layout.attention) for layer in eager_oracle.decoder_layers(model)
    ]
    source = sys.modules[type(attentions[0]).__module__]
    with contextlib.ExitStack() as undo, torch.no_grad():
        if feature == "scaling" and name.startswith("falcon"):
            for attention in attentions:
                for parameter in attention.query_key_value.parameters():
                    parameter.mul_(attention.head_dim**0.25)
        elif feature == "scaling":
            for attention in attentions:
                known = {"scaling", "scale_attn", "inv_norm_factor", "softmax_scale"} & vars(attention).keys()
                assert len(known) == 1
                setattr(attention, known.pop(), 1.0)
        elif feature == "bias":
            for path, parameter in model.named_parameters():
                if tiny_families.PROJECTION.search(path.removesuffix(".bias")) and path.endswith(".bias"):
                    parameter.zero_()
        elif feature == "window":
            model = _rebuilt(name, window_size=CONTEXT, sliding_window=CONTEXT)
        elif feature == "softcap":
            model = _rebuilt(name, attn_logit_softcapping=None)
        elif feature == "rotary" and name in {"gptj", "codegen"}:
            for attention in attentions:
                sine, cosine = attention.embed_positions.chunk(2, dim=-1)
                attention.embed_positions = torch.cat([torch.zeros_like(sine), torch.ones_like(cosine)], -1)
        elif feature == "rotary":
            turn = model.get_submodule(layout.layers.rpartition(".")[0]).rotary_emb
            turn.register_forward_hook(lambda module, args, out: (out[0] * 0 + 1, out[1] * 0))
        elif feature == "alibi":
            builders = {"mpt": "build_mpt_alibi_tensor", "bloom": "_get_alibi_slopes"}
            builder = builders.get(name, "build_alibi_tensor")
            original = getattr(source, builder)
            undo.enter_context(mock.patch.object(source, builder, lambda *a, **k: original(*a, **k) * 0))
        elif feature == "qk_norm":
            for attention in attentions:
                for part in ("q_norm", "k_norm", "q_layernorm", "k_layernorm"):
                    if hasattr(attention, part):
                        setattr(attention, part, torch.nn.Identity())
        elif feature == "sinks":
            for attention in attentions:
                attention.sinks.fill_(-1e4)
        else:
            assert feature == "gqa"
            undo.enter_context(mock.patch.object(source, "repeat_kv", lambda kv, n: kv.repeat(1, n, 1, 1)))
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
