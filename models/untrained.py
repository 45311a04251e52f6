"""An untrained model that a trained one is compared with: random layers between the trained embeddings and head."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch

from ..errors import UserError
from ..seeds import derive_seed
from .exclusive_use import exclusive
from .layer_parts import decoder_layers
from .live_adapter import plain_names, silence_adapters
from .loading import LanguageModel
from .plain_weights import is_plain

_RANGE_NAMES = ("initializer_range", "init_std")
_DEFAULT_RANGE = 0.02


def untrained_copy(model: LanguageModel, seed: int) -> LanguageModel:
    """Return a copy of a model whose decoder layers are untrained, a control of Bar Natan et al.'s code.

    Embeddings (positions too), norms and the unembedding are the model's, bit for bit. In the decoder layers every
    weight is drawn anew from N(0, s²), s being the initialiser range of the configuration, and every bias is 0;
    adapters that the model carries there are switched off. The model itself is left as it is.

    Args:
        model: The model.
        seed: Seed of the weights; the same on every device and for every dtype.

    Raises:
        UserError: If the layers hold weights that are offloaded or quantised.
    """
    wanted = list(_drawn_anew(model))
    for _, name, parameter in wanted:
        if not is_plain(parameter):
            raise UserError(
                f"{name} of {model.name!r} is offloaded or quantised, so there is no untrained copy of it: load "
                "the model unquantised on devices that hold it whole, or leave this control out"
            )
    with exclusive(model.module, "copying"):
        module = copy.deepcopy(model.module)
    for layer in decoder_layers(module, model.family):
        silence_adapters(layer)
    spread = initializer_range(model)
    with torch.no_grad():
        for name, full_name, _ in wanted:
            parameter = module.get_parameter(full_name)
            if parameter.dim() < 2 or name.endswith("bias"):
                parameter.zero_()
                continue
            generator = torch.Generator().manual_seed(derive_seed("untrained", seed, name))
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return replace(model, module=module, name=f"{model.name} (untrained)")


def initializer_range(model: LanguageModel) -> float:
    """Return the standard deviation that a model's weights had before training, 0.02 where nothing says."""
    config = model.module.config.get_text_config()
    ranges = (getattr(config, name, None) for name in _RANGE_NAMES)
    return float(next((value for value in ranges if value), _DEFAULT_RANGE))


def _drawn_anew(model: LanguageModel) -> Iterator[tuple[str, str, torch.nn.Parameter]]:
    """Yield those of the decoder layers that belong to no norm: name without adapters, full name, parameter."""
    kept = {
        id(parameter)
        for module in model.module.modules()
        if "norm" in type(module).__name__.lower()
        for parameter in module.parameters(recurse=False)
    }
    inside = {id(parameter) for layer in model.layers for parameter in layer.parameters()}
    own = plain_names(model.module)
    for name, parameter in model.module.named_parameters():
        if name in own and id(parameter) in inside and id(parameter) not in kept:
            yield own[name], name, parameter
