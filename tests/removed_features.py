"""Take one feature out of a tiny model's attention, by the name it has in a list of features."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import eager_oracle
import torch
from decoder import CONTEXT
from drawn_weights import PROJECTION, QUERY_KEY_NORM

FAR_OFF = 1e9


@dataclass(frozen=True)
class Subject:
    """A private, eager copy of a model, and what is undone when the feature is given back."""

    model: Any
    attentions: list[Any]
    source: Any
    """The modelling file."""
    undo: contextlib.ExitStack

    def replace(self, function: str, other: Callable[..., Any]) -> None:
        """Put another function in the place of one of the modelling file's."""
        self.undo.enter_context(mock.patch.object(self.source, function, other))

    def set_where_known(self, value: Any, *names: str) -> None:
        """Set the one of these attributes that each attention module has."""
        for attention in self.attentions:
            known = [name for name in names if name in vars(attention)]
            assert len(known) == 1, known
            setattr(attention, known[0], value)


@contextlib.contextmanager
def without(model: torch.nn.Module, feature: str) -> Iterator[Any]:
    """A copy of a model, running eagerly, in which one feature of its attention is missing.

    Some features live in a function of the modelling file, so the copy lacks them only inside the context.
    """
    with contextlib.ExitStack() as undo, torch.no_grad():
        copied = subject(model, undo)
        REMOVE[feature](copied)
        yield copied.model


def subject(model: torch.nn.Module, undo: contextlib.ExitStack) -> Subject:
    """What a feature can be taken from."""
    twin = eager_oracle.eager_copy(model)
    path = eager_oracle.layout_of(twin).attention
    attentions = [layer.get_submodule(path) for layer in eager_oracle.attention_layers(twin)]
    return Subject(twin, attentions, sys.modules[type(attentions[0]).__module__], undo)


def _scaling(subject: Subject) -> None:
    if "scale" in vars(subject.attentions[0]):
        subject.set_where_known(False, "scale")
    else:
        names = ("scaling", "norm_factor", "scale_attn", "inv_norm_factor", "softmax_scale")
        subject.set_where_known(1.0, *names)


def _bias(subject: Subject) -> None:
    zeroed = 0
    for attention in subject.attentions:
        for path, module in attention.named_modules():
            makes_scores = PROJECTION.search(path) or path in ("q_a_proj", "kv_a_proj_with_mqa")
            if makes_scores and getattr(module, "bias", None) is not None:
                module.bias.zero_()
                zeroed += 1
    assert zeroed


def _window(subject: Subject) -> None:
    config = subject.model.config.get_text_config()
    assert config.sliding_window
    config.sliding_window = CONTEXT


def _chunk(subject: Subject) -> None:
    subject.model.config.get_text_config().attention_chunk_size = CONTEXT


def _softcap(subject: Subject) -> None:
    subject.set_where_known(None, "attn_logit_softcapping")


def _rotary(subject: Subject) -> None:
    turns = [module for module in subject.model.modules() if "Rotary" in type(module).__name__]
    assert turns
    for turn in turns:
        turn.register_forward_hook(
            lambda module, args, out: (
                (out[0] * 0 + 1, out[1] * 0) if isinstance(out, tuple) else torch.ones_like(out)
            )
        )


def _positions(subject: Subject) -> None:
    names = ("embed_positions", "wpe", "positions_embed")
    tables = [module for path, module in subject.model.named_modules() if path.rpartition(".")[2] in names]
    for table in tables:
        table.weight.zero_()
    if not tables:
        subject.model.transformer.pos_encoding.zero_()


def _query_key_norm(subject: Subject) -> None:
    for attention in subject.attentions:
        for path in [path for path, _ in attention.named_children() if QUERY_KEY_NORM.search(path)]:
            setattr(attention, path, torch.nn.Identity())


def _latent_norm(subject: Subject) -> None:
    for attention in subject.attentions:
        for path in ("q_a_layernorm", "kv_a_layernorm"):
            if getattr(attention, path, None) is not None:
                setattr(attention, path, torch.nn.Identity())


def _temperature(subject: Subject) -> None:
    """Queries scaled by their position."""
    if hasattr(subject.attentions[0], "attn_temperature_tuning"):
        subject.set_where_known(False, "attn_temperature_tuning")
    elif hasattr(subject.source, "get_llama_4_attn_scale"):
        subject.replace("get_llama_4_attn_scale", lambda *given: torch.ones(()))
    else:
        subject.replace("compute_attention_scaling", lambda *given: None)


def _clip(subject: Subject) -> None:
    for owner in (subject.model.config, *subject.attentions):
        if getattr(owner, "clip_qkv", None) is not None:
            owner.clip_qkv = FAR_OFF


def _key_bias(subject: Subject) -> None:
    """Doge adds exp(A · softplus(…)) to each key: with A = 0, the same to all."""
    for attention in subject.attentions:
        attention.A.zero_()


def _key_multiplier(subject: Subject) -> None:
    subject.set_where_known(1.0, "key_multiplier")


def _sinks(subject: Subject) -> None:
    for attention in subject.attentions:
        if attention.sinks is not None:
            attention.sinks.fill_(-1e4)


def _grouping(subject: Subject) -> None:
    subject.replace("repeat_kv", lambda states, times: states.repeat(1, times, 1, 1))


REMOVE: dict[str, Callable[[Subject], None]] = {
    "scaling": _scaling,
    "bias": _bias,
    "window": _window,
    "chunk": _chunk,
    "softcap": _softcap,
    "rotary": _rotary,
    "positions": _positions,
    "qk_norm": _query_key_norm,
    "latent_norm": _latent_norm,
    "temperature": _temperature,
    "clip": _clip,
    "key_bias": _key_bias,
    "key_multiplier": _key_multiplier,
    "sinks": _sinks,
    "gqa": _grouping,
}
"""Every feature but the mask, which the oracle's models cannot lose: tests take it from the capture's reading."""
