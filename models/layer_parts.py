"""The modules of each decoder layer that captures and finetuning address, found by a family's row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import UserError
from .family import PARALLEL, Family
from .projections import Projection
from .text_alone import refuse_other_readers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PROJECTIONS: tuple[Projection, ...] = ("query", "key", "value")


@dataclass(frozen=True)
class LayerParts:
    """The modules of one decoder layer with attention.

    Attributes:
        index: The layer, counted from 0 among all decoder layers.
        layer: The whole decoder layer; its output is the residual stream after it.
        attention: The attention module.
        output_projection: The map whose output is the attention output.
        mlp_output: The module whose output is the MLP output; None where the layer has no MLP, or no one module
            gives its output.
        projections: The modules that hold W_Q, W_K and W_V, the same module three times if fused. A layer that takes
            its keys and values from a layer below has W_Q alone; one that takes its keys as values has no W_V.
        output_bias: A bias of the output projection that is a parameter of the attention module, where there is one.
        mlp_input: The module whose input is the MLP's; None where the layer has no MLP, or it is not known.
        before_mlp: The module whose input is the residual stream between attention and MLP; None where there is no
            such stream, or it is not known.
    """

    index: int
    layer: torch.nn.Module
    attention: torch.nn.Module
    output_projection: torch.nn.Module
    mlp_output: torch.nn.Module | None
    projections: dict[Projection, torch.nn.Module]
    output_bias: torch.Tensor | None = None
    mlp_input: torch.nn.Module | None = None
    before_mlp: torch.nn.Module | None = None


def decoder_layers(model: PreTrainedModel, family: Family) -> tuple[torch.nn.Module, ...]:
    """Return every decoder layer of a model, first to last.

    Raises:
        UserError: If there is no list of layers where the family's row looks.
    """
    names = {name for name, _ in model.named_modules()}
    path = next((path for path in family.layers if path in names), None)
    if path is None:
        raise UserError(
            f"{type(model).__name__} has no layers at {' or '.join(family.layers)}, where the row of family "
            f"{family.name!r} looks for them: correct it with iclprobe.register_family(...)"
        )
    return tuple(model.get_submodule(path).children())


def layer_parts(model: PreTrainedModel, family: Family) -> tuple[LayerParts, ...]:
    """Find the modules of every decoder layer that has attention.

    Raises:
        UserError: If a path of the family's row does not exist in this model, or it does not read a text alone from
            left to right.
    """
    parts = []
    for index, layer in enumerate(decoder_layers(model, family)):
        if family.hybrid and not _has_attention(layer, family):
            continue
        parts.append(_parts_of_layer(model, family, index, layer))
    if not parts:
        raise UserError(
            f"no layer of {type(model).__name__} has attention at {family.attention}: nothing can be captured"
        )
    refuse_other_readers(model)
    return tuple(parts)


def absolute_layer(parts: Sequence[LayerParts], layer: int) -> int:
    """Return a layer's number; a negative one counts from the end of the layers with attention."""
    return parts[layer].index if -len(parts) <= layer < 0 else layer


def layers_with_attention(parts: Sequence[LayerParts]) -> str:
    """Return which layers there are to choose from, as messages say it."""
    return f"those with attention are {some_layers([part.index for part in parts])}"


def some_layers(layers: Sequence[int]) -> str:
    """Return the numbers of layers as messages say them, the middle left out of many."""
    numbers = [str(layer) for layer in layers]
    return ", ".join(numbers if len(numbers) < 9 else [*numbers[:6], "…", numbers[-1]])


def _has_attention(layer: torch.nn.Module, family: Family) -> bool:
    attention = _child(layer, family.attention)
    if attention is None:
        return False
    # Linear attention may stand under the same name, with other projections or with a convolution beside them.
    if any("conv" in name for name, _ in attention.named_children()):
        return False
    return all(_first(attention, names) is not None for names in family.projection_names)


def _parts_of_layer(model: PreTrainedModel, family: Family, index: int, layer: torch.nn.Module) -> LayerParts:
    attention = _require(model, family, index, layer, (family.attention,))
    projections: dict[Projection, torch.nn.Module] = {}
    for projection, names in zip(_PROJECTIONS, family.projection_names, strict=True):
        if family.shares_keys and projection != "query" and _first(attention, names) is None:
            continue
        projections[projection] = _require(model, family, index, attention, names)
    outputs = family.mlp_outputs
    before = family.before_mlp_of(model.config.get_text_config())
    return LayerParts(
        index=index,
        layer=layer,
        attention=attention,
        output_projection=_require(model, family, index, attention, (family.output_projection,)),
        mlp_output=_require(model, family, index, layer, outputs) if outputs else None,
        projections=projections,
        output_bias=getattr(attention, family.output_bias, None) if family.output_bias else None,
        mlp_input=_mlp_input(layer, family),
        before_mlp=_child(layer, before) if before not in ("", PARALLEL) else None,
    )


def _mlp_input(layer: torch.nn.Module, family: Family) -> torch.nn.Module | None:
    if family.mlp_input:
        return _child(layer, family.mlp_input)
    output = next((name for name in family.mlp_outputs if _child(layer, name) is not None), "")
    block, _, last = output.rpartition(".")
    found = _child(layer, block or last) if output else None
    # A lone map that stands in the layer itself is the end of an MLP, not the whole of it.
    return found if found is not None and any(True for _ in found.children()) else None


def _require(
    model: PreTrainedModel, family: Family, index: int, module: torch.nn.Module, names: tuple[str, ...]
) -> torch.nn.Module:
    found = _first(module, names)
    if found is None:
        raise UserError(
            f"layer {index} of {type(model).__name__} does not match the row of family {family.name!r} "
            f"({type(module).__name__} has no {' or '.join(names)}): correct it with "
            "iclprobe.register_family(...)"
        )
    return found


def _first(module: torch.nn.Module, names: tuple[str, ...]) -> torch.nn.Module | None:
    return next((found for name in names if (found := _child(module, name)) is not None), None)


def _child(module: torch.nn.Module, path: str) -> torch.nn.Module | None:
    try:
        # A name may also be an attribute that is None, or no module.
        found = module.get_submodule(path)
    except AttributeError:
        return None
    return found if isinstance(found, torch.nn.Module) else None
