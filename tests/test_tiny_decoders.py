"""The material of `tiny_decoders` itself: the models hide nothing, and the oracle tells the truth about them."""

from __future__ import annotations

from typing import Any

import drawn_weights
import eager_oracle
import pytest
import tiny_decoders
import torch
from decoder import CONTEXT, HEADS, WINDOW, Decoder
from tiny_decoders import DECODERS
from torch import Tensor


@pytest.mark.parametrize("name", list(DECODERS))
def test_a_tiny_decoder_hides_nothing(name: str) -> None:
    """Weights are drawn, scores spread, windows act, both attentions agree, and patterns are their softmax."""
    decoder, model = DECODERS[name], tiny_decoders.build(name)
    ids = tiny_decoders.prefix(name) + tiny_decoders.prompts(name)[1]
    assert WINDOW < len(ids) < CONTEXT
    _weights_are_drawn(model)
    assert max(stream.abs().max().item() for stream in eager_oracle.residual_streams(model, ids)) < 100
    witnessed = eager_oracle.witnessed(model, ids)
    for index, layer in zip(eager_oracle.attending(model), witnessed, strict=True):
        assert 2.0 <= drawn_weights.row_spread(layer) <= 6.0
        assert torch.equal(layer.visible, expected_visible(decoder, index, len(ids)).expand(HEADS, -1, -1))
        assert torch.equal(layer.scores.isnan(), ~layer.visible)
        attention = eager_oracle.decoder_layers(model)[index].get_submodule(decoder.layout.attention)
        assert (getattr(attention, "sinks", None) is not None) is bool((layer.pattern.sum(-1) < 0.999).any())
        torch.testing.assert_close(layer.pattern, softmax(layer.scores, attention), atol=2e-6, rtol=1e-4)
    logits = eager_oracle.logits(model, ids)
    assert logits.std() > 0.3
    eager = eager_oracle.logits(eager_oracle.eager_copy(model), ids)
    assert (logits - eager).abs().max() / logits.abs().max() <= 1e-4


def _weights_are_drawn(model: torch.nn.Module) -> None:
    assert not model.training
    for parameter_name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.isfinite().all() and parameter.abs().max() > 0, parameter_name
        assert parameter.numel() == 1 or parameter.std() > 0.05, parameter_name


def expected_visible(decoder: Decoder, layer: int, length: int) -> Tensor:
    """What causality and the window or chunk of a layer let each of S queries see, [S, S]."""
    query, key = torch.arange(length)[:, None], torch.arange(length)[None]
    visible = key <= query
    if layer in decoder.windows:
        visible &= query - key < WINDOW
    if layer in decoder.chunks:
        visible &= query // WINDOW == key // WINDOW
    return visible


def softmax(scores: Tensor, attention: Any) -> Tensor:
    """The pattern that hidden (NaN) and visible scores [H, S, S] give, sinks taking their share."""
    weights = scores.exp().nan_to_num()
    total = weights.sum(-1, keepdim=True)
    sinks = getattr(attention, "sinks", None)
    return weights / (total if sinks is None else total + sinks.detach().exp().view(-1, 1, 1))


def test_windows_and_chunks_are_named_as_features() -> None:
    for name, decoder in DECODERS.items():
        assert ("window" in decoder.features) is bool(decoder.windows), name
        assert ("chunk" in decoder.features) is bool(decoder.chunks), name
