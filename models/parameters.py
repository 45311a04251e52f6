"""Which parameters a recipe trains: whole tensors, or the rows of a fused weight that are W_K and W_V."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..errors import UserError, shown
from .depth import draw_layers
from .layer_parts import absolute_layer, layers_with_attention
from .live_adapter import plain_module, plain_names
from .loading import LanguageModel
from .name_pattern import found_in
from .plain_weights import PLAIN_DTYPES, stored_as
from .projections import Projection, projection_rows, stored_rows

if TYPE_CHECKING:
    from .layer_parts import LayerParts
    from .recipe import Recipe

_SELECTION = re.compile(r"(?P<kind>attn|lora)_(?P<letters>q?k?v?)(?:@(?P<layer>[+-]?\d+|deep|middle))?")
_PROJECTIONS: dict[str, Projection] = {"q": "query", "k": "key", "v": "value"}


@dataclass(frozen=True, eq=False)
class TrainedSlice:
    """A parameter that is trained, or the part of it that is.

    Attributes:
        name: The parameter's dotted name in the module.
        rows: Indices along ``dim``, sorted, or None for the whole parameter.
        dim: The output dimension of the parameter: 1 for GPT-2's transposed weights, else 0.
    """

    name: str
    rows: Tensor | None = None
    dim: int = 0

    def __post_init__(self) -> None:
        """Refuse rows that are no list of indices."""
        if self.rows is not None and (self.rows.dim() != 1 or self.rows.dtype != torch.long):
            raise ValueError(f"rows of {self.name} must be a one-dimensional long tensor")

    def read(self, tensor: Tensor) -> Tensor:
        """Return the trained part of a tensor of the parameter's shape: itself if whole, else a copy."""
        if self.rows is None:
            return tensor
        return tensor.index_select(self.dim, self.rows.to(tensor.device))

    def write(self, tensor: Tensor, values: Tensor) -> None:
        """Put the trained part into a tensor of the parameter's shape, in the tensor's dtype."""
        if self.rows is None:
            tensor.copy_(values)
        else:
            tensor.index_copy_(self.dim, self.rows.to(tensor.device), values.to(tensor.dtype))


def select_parameters(
    model: LanguageModel, selection: str, include_bias: bool = True, seed: int = 0
) -> tuple[TrainedSlice, ...]:
    """Resolve what a recipe trains in one model.

    Args:
        model: The model.
        selection: ``attn_kv`` or any of q, k and v, of all layers or of one (``attn_v@-1``; ``attn_v@deep`` and
            ``attn_v@middle`` draw it); ``all``; else a regular expression searched in parameter names, with or
            without ``regex:`` in front. For ``lora_…`` the weights that the adapters are added to.
        include_bias: Whether ``attn_…`` takes the biases of those projections too.
        seed: Seed of the drawn layer.

    Returns:
        The slices in the order of the module's parameters. Tied parameters appear once. Of a model that carries an
        adapter, the weights beneath it: they are asked for by the names that they have without it, and its own
        parameters are never trained.

    Raises:
        UserError: If nothing is selected, there is no such layer, or the weights are quantised.
    """
    projections = selected_projections(model, selection, seed)
    if projections is not None:
        parts, wanted, kind = projections
        biases = include_bias and kind == "attn"
        names = {id(parameter): name for name, parameter in model.module.named_parameters()}
        slices = [piece for part in parts for piece in _attention_slices(model, part, wanted, biases, names)]
    else:
        slices = [TrainedSlice(name) for name in _names_matching(model, selection)]
    if not slices:
        raise UserError(
            f"parameters {shown(selection)} select nothing in {shown(model.name)}, whose parameters are called "
            f"{_some_names(model)}: take attn_kv, attn_v@LAYER, lora_qv, all, or an expression that matches some"
        )
    _check_trainable(model, slices)
    return tuple(slices)


def selected_projections(
    model: LanguageModel, selection: str, seed: int = 0
) -> tuple[tuple[LayerParts, ...], tuple[Projection, ...], Literal["attn", "lora"]] | None:
    """Return the layers and projections that ``attn_…`` or ``lora_…`` name; None for another selection."""
    named = _SELECTION.fullmatch(selection)
    if named is None or not named["letters"]:
        return None
    layer = named["layer"]
    if layer is None:
        parts = model.parts
    elif layer in ("deep", "middle"):
        parts = (model.parts[draw_layers(len(model.parts), layer, repeats=1, seed=seed)[0]],)
    else:
        parts = (_layer(model, selection, layer),)
    wanted: tuple[Projection, ...] = tuple(_PROJECTIONS[letter] for letter in named["letters"])
    return parts, wanted, "lora" if named["kind"] == "lora" else "attn"


def layers_of(model: LanguageModel, names: Sequence[str]) -> tuple[int | None, ...]:
    """Return the decoder layer that each parameter belongs to; None for one outside of the layers."""
    owners = {
        id(parameter): index for index, layer in enumerate(model.layers) for parameter in layer.parameters()
    }
    return tuple(owners.get(id(model.module.get_parameter(name))) for name in names)


def untrained_slices(model: LanguageModel, slices: Sequence[TrainedSlice]) -> dict[str, TrainedSlice]:
    """Return what of the decoder layers' parameters is not trained, in the module's order.

    Args:
        model: The model.
        slices: What is trained.

    Returns:
        By the parameter's name; of a fused weight, of which some rows are trained, the rest is called
        ``NAME (other rows)``.
    """
    trained = {piece.name: piece for piece in slices}
    inside = {id(parameter) for layer in model.layers for parameter in layer.parameters()}
    own = plain_names(model.module)
    rest: dict[str, TrainedSlice] = {}
    for name, parameter in model.module.named_parameters():
        if id(parameter) not in inside or name not in own or not parameter.is_floating_point():
            continue
        if name not in trained:
            rest[name] = TrainedSlice(name)
        elif (rows := trained[name].rows) is not None:
            others = torch.ones(parameter.shape[trained[name].dim], dtype=torch.bool)
            others[rows] = False
            rest[f"{name} (other rows)"] = TrainedSlice(name, others.nonzero()[:, 0], trained[name].dim)
    return rest


def first_trained_layer(model: LanguageModel, recipe: Recipe, seed: int = 0) -> int:
    """Return the lowest layer, counted from 0, that a recipe changes: what enters it stays as it is.

    Args:
        model: The model.
        recipe: How to finetune.
        seed: Seed of the finetuning, which draws the layer of ``attn_v@deep``.
    """
    slices = select_parameters(model, recipe.parameters, recipe.include_bias, seed)
    return lowest_layer(layers_of(model, [piece.name for piece in slices]))


def lowest_layer(layers: Sequence[int | None]) -> int:
    """Return the lowest layer; 0 where something outside of the layers, such as embeddings, is among them."""
    return min(0 if layer is None else layer for layer in layers)


def count_parameters(model: LanguageModel, slices: Sequence[TrainedSlice]) -> int:
    """Return how many numbers are trained."""
    total = 0
    for piece in slices:
        parameter = model.module.get_parameter(piece.name)
        share = 1 if piece.rows is None else parameter.shape[piece.dim]
        total += parameter.numel() // share * (1 if piece.rows is None else len(piece.rows))
    return total


def _layer(model: LanguageModel, selection: str, text: str) -> LayerParts:
    index = int(text)
    if not -model.n_layers <= index < model.n_layers:
        raise UserError(
            f"parameters {shown(selection)} name a layer that {shown(model.name)} does not have: it has "
            f"{model.n_layers}, so take 0 to {model.n_layers - 1}, or -1 for the last"
        )
    number = absolute_layer(model.parts, index)
    part = next((part for part in model.parts if part.index == number), None)
    if part is None:
        raise UserError(
            f"parameters {shown(selection)} name a layer of {shown(model.name)} that has no attention: "
            f"{layers_with_attention(model.parts)}"
        )
    return part


def _attention_slices(
    model: LanguageModel,
    part: LayerParts,
    wanted: Sequence[Projection],
    include_bias: bool,
    names: Mapping[int, str],
) -> list[TrainedSlice]:
    family = model.family
    layout, geometry = family.layout_of(model.module.config.get_text_config()), model.geometry_of(part.index)
    rows = None if layout == "separate" else projection_rows(layout, geometry)
    sizes = stored_rows(layout, geometry)
    held: dict[Any, list[Projection]] = {}
    for projection in wanted:
        if projection in part.projections:
            held.setdefault(plain_module(part.projections[projection]), []).append(projection)
    slices = []
    for module, projections in held.items():
        dims = {"weight": int(family.transposed), **({"bias": 0} if include_bias else {})}
        for kind, dim in dims.items():
            parameter: Any = getattr(module, kind, None)
            if id(parameter) not in names:
                if kind == "weight":
                    raise _quantised(model, f"layer {part.index} keeps no plain weight")
                continue
            chosen = None
            if rows is not None:
                found, expected = parameter.shape[dim], sizes[projections[0]]
                if found != expected:
                    raise _other_size(model, names[id(parameter)], found, expected)
                chosen = torch.cat([rows[projection] for projection in projections]).sort().values
                chosen = None if len(chosen) == found else chosen
            slices.append(TrainedSlice(names[id(parameter)], chosen, dim))
    return slices


def _other_size(model: LanguageModel, name: str, found: int, expected: int) -> UserError:
    return UserError(
        f"{name} of {shown(model.name)} has {found} rows and the row of family {shown(model.family.name)} expects "
        f"{expected}: correct it with iclprobe.register_family(...)"
    )


def _names_matching(model: LanguageModel, selection: str) -> list[str]:
    # A tied parameter can be asked for by any of its names; it is trained under its first.
    own = plain_names(model.module)
    found = found_in(selection, own.values())
    matching = {id(model.module.get_parameter(name)) for name, plain in own.items() if plain in found}
    return [
        name
        for name, parameter in model.module.named_parameters()
        if name in own and id(parameter) in matching
    ]


def _check_trainable(model: LanguageModel, slices: Sequence[TrainedSlice]) -> None:
    module: Any = model.module
    if getattr(module, "is_quantized", False) or getattr(module.config, "quantization_config", None):
        raise _quantised(model, "its configuration says so")
    for piece in slices:
        parameter = module.get_parameter(piece.name)
        if parameter.is_meta:
            raise UserError(
                f"{piece.name} of {shown(model.name)} is offloaded and cannot be trained: load the model on "
                "devices that hold it whole"
            )
        if stored_as(parameter) not in PLAIN_DTYPES:
            raise _quantised(model, f"{piece.name} is {stored_as(parameter)}")


def _quantised(model: LanguageModel, reason: str) -> UserError:
    return UserError(
        f"model {shown(model.name)} has quantised weights ({reason}), which cannot be finetuned: load it "
        "unquantised, in float32, float16 or bfloat16"
    )


def _some_names(model: LanguageModel) -> str:
    names = list(plain_names(model.module).values())
    middle = len(names) // 2
    return ", ".join(dict.fromkeys(name[:60] for name in (names[0], names[middle])))
