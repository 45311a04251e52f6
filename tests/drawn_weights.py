"""Every weight, bias and norm of a tiny model drawn at random, and its scores spread.

Query and key weights are rescaled, layer by layer, until the softmax input has a standard deviation of 2 to 6.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import eager_oracle
import torch
from transformers import PreTrainedModel

TARGET_SPREAD = 3.6
BARE_NORM_SPREAD = 2.6
"""The same where a norm without weights bounds the scores: more would lose digits of what is normalised."""
PROJECTION = re.compile(
    r"\b(q_proj|k_proj|q_b_proj|Wq|Wk|c_attn|query_key_value|qkv_proj|Wqkv|q_proj\.linear|k_proj\.linear)$"
)
"""What makes queries and keys. Under latent attention the map that leads out of the latent queries will do."""
QUERY_KEY_NORM = re.compile(
    r"\b(q_norm|k_norm|q_layernorm|k_layernorm|query_layernorm|key_layernorm|qk_norm)\b"
)
WIDE_ROWS = 2


def draw_weights(
    model: PreTrainedModel, generator: torch.Generator, vocabulary: int, within: str = ""
) -> None:
    """Draw every parameter of a model, or of the part of it at some path, and spread its scores, in place."""
    with torch.no_grad():
        _draw_everything(model.get_submodule(within), generator)
        model.tie_weights()
        twin = eager_oracle.eager_copy(model)
        _spread_scores(twin, generator, vocabulary)
        model.load_state_dict(twin.state_dict())


def _draw_everything(model: torch.nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        for parameter_name, parameter in module.named_parameters(recurse=False):
            noise = torch.randn(parameter.shape, generator=generator)
            if isinstance(module, torch.nn.Embedding):
                parameter.copy_(noise)
            elif "Norm" in type(module).__name__ and parameter_name == "weight":
                parameter.copy_(_norm_centre(module) + 0.3 * noise)
            elif parameter.dim() == 1 or parameter_name.endswith("bias"):
                parameter.copy_(0.5 * noise)
            else:
                parameter.copy_(noise * min(parameter.shape[-2:]) ** -0.5)


def _norm_centre(module: Any) -> float:
    """What a norm's weight is drawn around: 0 where the norm multiplies by 1 + weight, as Gemma's does."""
    drawn, given = (
        module.weight.clone(),
        torch.linspace(-1.0, 2.0, module.weight.numel()).view(module.weight.shape),
    )
    # Some norms of linear attention multiply by a gate besides.
    gated = "gate" in inspect.signature(module.forward).parameters
    inputs = (given[None], torch.ones_like(given[None])) if gated else (given[None],)
    try:
        module.weight.fill_(2.0)
        twice = module(*inputs)
        module.weight.fill_(0.0)
        once = module(*inputs)
    finally:
        module.weight.copy_(drawn)
    bias = getattr(module, "bias", None)
    offset = 0.0 if bias is None else bias
    if torch.allclose(once, torch.zeros_like(once) + offset, atol=1e-6):
        return 1.0
    assert torch.allclose(3 * (once - offset), twice - offset, atol=1e-5)
    return 0.0


def _spread_scores(model: torch.nn.Module, generator: torch.Generator, vocabulary: int) -> None:
    """Rescale what makes queries and keys until each layer's last rows spread as wanted, first layer first.

    Where queries and keys are normalised the norm is scaled, for the projection's size no longer matters.
    """
    ids = torch.randint(3, vocabulary, (64,), generator=generator).tolist()
    for place, layer in enumerate(eager_oracle.attention_layers(model)):
        attention: Any = layer.get_submodule(eager_oracle.layout_of(model).attention)
        norms = [module for path, module in attention.named_modules() if QUERY_KEY_NORM.search(path)]
        projections = [module for path, module in attention.named_modules() if PROJECTION.search(path)]
        assert projections
        bare = bool(norms) and not any(True for norm in norms for _ in norm.parameters(recurse=False))
        target = BARE_NORM_SPREAD if bare else TARGET_SPREAD
        for _ in range(12):
            spread = row_spread(eager_oracle.softmax_inputs(model, ids)[place], rows=40)
            if abs(spread / target - 1) < 0.05:
                break
            factor = min(max((target / spread) ** 0.5, 0.25), 4.0)
            if bare:
                _widen(projections, factor, int(attention.head_dim))
            else:
                _scale(norms or projections, factor)


def _scale(modules: list[torch.nn.Module], factor: float) -> None:
    for module in modules:
        is_norm = "Norm" in type(module).__name__
        for parameter in module.parameters(recurse=False):
            offset = 1.0 - _norm_centre(module) if is_norm else 0.0
            parameter.copy_((parameter + offset) * factor - offset)


def _widen(projections: list[torch.nn.Module], factor: float, head_width: int) -> None:
    """Where a norm without weights follows, let a few rows of each head outweigh the others.

    Normalised queries and keys then lie near a plane, and their products are far from 0.
    """
    for module in projections:
        for parameter in module.parameters(recurse=False):
            heads = parameter.unflatten(0, (-1, head_width))
            heads[:, :WIDE_ROWS] *= factor


def row_spread(layer: eager_oracle.SoftmaxInput | eager_oracle.Witnessed, rows: int = 8) -> float:
    """The standard deviation of the visible scores within a row, pooled over the heads and the last rows."""
    scores = layer.scores[:, -rows:]
    deviations = scores - scores.nanmean(-1, keepdim=True)
    return deviations.square().nanmean().sqrt().item()
