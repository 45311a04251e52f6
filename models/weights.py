"""Attention projections W_Q, W_K, W_V and W_O of any checkpoint, read one by one without building a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ..errors import UserError
from .checkpoint_config import (
    attending_layers,
    config_of,
    family_geometry,
    family_of,
    likely_geometry,
    model_type_in,
    refuse_quantised,
)
from .devices import choose_device
from .families import Family, listed_family
from .layer_parts import some_layers
from .live_module import running_module
from .loading import LanguageModel, load_model
from .matrices import MATRICES, Matrix
from .projection_file import AttentionProjection, LayerRows, ProjectionFile, fits
from .projection_names import ProjectionNames, names_by_family, names_by_pattern
from .projections import HeadGeometry, projection_rows, stored_rows
from .tensor_files import Place, open_tensors
from .tensor_source import TensorSource

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = [
    "AttentionProjection",
    "ProjectionFile",
    "attention_projections",
    "open_projections",
]


def open_projections(
    place: Place,
    *,
    revision: str | None = None,
    matrices: Sequence[Matrix] = ("query", "key", "value"),
    layers: Iterable[int] | None = None,
    pattern: Mapping[Matrix, str] | None = None,
    family: str | None = None,
    device: str | torch.device = "cpu",
    endpoint: str | None = None,
) -> ProjectionFile:
    """Open the attention projections of a checkpoint; no model is built and no weight read yet.

    Args:
        place: A live model, a directory, a file of weights, ``pocket``, a hub id or an address, as
            `open_tensors` takes them.
        revision: Branch, tag or commit on the hub; for ``pocket`` a training step.
        matrices: Which projections.
        layers: Which layers, counted from 0, from the end if negative; None takes all.
        pattern: For each matrix the name of its tensor with ``{layer}`` in it, in place of what the family's
            row says about names. Tensors are then taken as they are, unless ``family`` says how they are laid
            out.
        family: The row of the table of families to go by, in place of the one that ``config.json`` names.
        device: Where the tensors go.
        endpoint: The hub's address.

    Raises:
        UserError: If there is no such checkpoint, family, tensor or layer, or the weights are quantised.
    """
    unknown = [matrix for matrix in matrices if matrix not in MATRICES]
    if unknown:
        raise UserError(f"there is no attention matrix {unknown[0]!r}: use {', '.join(MATRICES)}")
    chosen_device = choose_device(device)
    source = open_tensors(place, revision=revision, endpoint=endpoint)
    try:
        known = _live_family(place) if family is None and pattern is None else None
        return _resolve(source, tuple(matrices), layers, pattern, family, chosen_device, known)
    except BaseException:
        source.close()
        raise


def attention_projections(
    place: Place,
    *,
    revision: str | None = None,
    matrices: Sequence[Matrix] = ("query", "key", "value"),
    layers: Iterable[int] | None = None,
    pattern: Mapping[Matrix, str] | None = None,
    family: str | None = None,
    device: str | torch.device = "cpu",
    endpoint: str | None = None,
) -> Iterator[AttentionProjection]:
    """Read the attention projections of a checkpoint one by one, layer by layer.

    Memory holds what the caller keeps and one stored tensor. The arguments are those of `open_projections`.

    Raises:
        UserError: If there is no such checkpoint, family, tensor or layer, or the weights are quantised.
    """
    file = open_projections(
        place,
        revision=revision,
        matrices=matrices,
        layers=layers,
        pattern=pattern,
        family=family,
        device=device,
        endpoint=endpoint,
    )

    def read_all() -> Iterator[AttentionProjection]:
        with file:
            yield from file

    return read_all()


def _live_family(place: Place) -> Family | None:
    """Return the family of a live model whose type has no row: a file of such a type has none."""
    if isinstance(place, LanguageModel):
        return place.family
    if isinstance(place, torch.nn.Module):
        module = running_module(place)
        if hasattr(module, "config") and listed_family(module.config) is None:
            return load_model(module).family
    return None


def _resolve(
    source: TensorSource,
    matrices: tuple[Matrix, ...],
    layers: Iterable[int] | None,
    pattern: Mapping[Matrix, str] | None,
    family_name: str | None,
    device: torch.device,
    known: Family | None,
) -> ProjectionFile:
    config = config_of(source, family_name)
    label = source.label
    if pattern is None:
        family = known or family_of(label, config, family_name)
        names = names_by_family(source.names, family, label, model_type_in(source))
        stored = max(layer for layer, _ in names) + 1
        n_layers = getattr(config, "num_hidden_layers", None) or stored
        _refuse_further_layers(label, n_layers, stored, config)
        every_layer = list(range(n_layers))
        if family.hybrid:
            every_layer = attending_layers(config, {layer for layer, _ in names})
            # Linear attention may have weights of the same names.
            names = {key: name for key, name in names.items() if key[0] in every_layer}
    else:
        family = None if family_name is None else family_of(label, config, family_name)
        names = names_by_pattern(source.names, pattern, label)
        every_layer = sorted({layer for layer, _ in names})
        n_layers = every_layer[-1] + 1
    lacking = _lacking(family, config, n_layers)
    keys: list[tuple[int, Matrix]] = [
        (layer, matrix)
        for layer in (every_layer if layers is None else _select_layers(label, layers, every_layer, n_layers))
        for matrix in MATRICES
        if matrix in matrices and (layer, matrix) not in lacking
    ]
    if not keys:
        raise UserError(f"{label!r} has no attention weights in the layers asked for: ask for others")
    missing = next((key for key in keys if key not in names), None)
    if missing is not None:
        raise _missing(label, missing, names, pattern is not None)
    refuse_quantised(source, config, dict.fromkeys(names[key] for key in keys))
    geometry = likely_geometry(config) if family is None else family_geometry(label, config, family)
    if family is None and geometry is not None:
        shapes = {key: source.stored(names[key]).shape for key in keys}
        if not all(fits(geometry, matrix, shape) for (_, matrix), shape in shapes.items()):
            geometry = None
    return ProjectionFile(
        source,
        names,
        keys=keys,
        n_layers=n_layers,
        family_name=None if family is None else family.name,
        layers=_layer_rows(label, names, family, geometry, config, sorted({layer for layer, _ in keys})),
        transposed=family is not None and family.transposed,
        device=device,
        width=getattr(config, "hidden_size", None),
        plain=family is not None and family.layout != "latent",
    )


def _lacking(
    family: Family | None, config: PretrainedConfig | None, n_layers: int
) -> frozenset[tuple[int, Matrix]]:
    """Return which matrices a model has none of, because it takes keys or values from elsewhere (Gemma 3n and 4)."""
    if family is None or not family.shares_keys:
        return frozenset()
    first_sharing = n_layers - (getattr(config, "num_kv_shared_layers", None) or 0)
    found: set[tuple[int, Matrix]] = set()
    for layer in range(first_sharing, n_layers):
        found |= {(layer, "key"), (layer, "value")}
    if getattr(config, "attention_k_eq_v", False):
        kinds = getattr(config, "layer_types", None) or ()
        found |= {(layer, "value") for layer, kind in enumerate(kinds) if kind != "sliding_attention"}
    return frozenset(found)


def _refuse_further_layers(label: str, n_layers: int, stored: int, config: PretrainedConfig | None) -> None:
    """Refuse layers beyond the configuration's number that are no heads which predict several tokens."""
    heads = getattr(config, "num_nextn_predict_layers", None) or 0
    if stored > n_layers + int(heads):
        raise UserError(
            f"{label!r} holds {stored} layers and its config.json counts {n_layers} (num_hidden_layers): correct it, "
            "or fetch the checkpoint again"
        )


def _layer_rows(
    label: str,
    names: ProjectionNames,
    family: Family | None,
    geometry: HeadGeometry | None,
    config: PretrainedConfig | None,
    layers: Sequence[int],
) -> dict[int, LayerRows]:
    """Return how the weights of each layer are to be read."""
    layer = min(layer for layer, _ in names)
    tensors = [names[layer, matrix] for matrix in MATRICES[:3] if (layer, matrix) in names]
    # A pattern may give a family of fused weights one tensor for each matrix.
    one = family is not None and len(family.projections) == 1 and len(set(tensors)) == 1
    shared = one or (family is not None and family.layout in ("gated", "latent"))
    if family is None or not shared:
        if len(set(tensors)) < len(tensors):
            raise UserError(
                f"the pattern names one tensor of {label!r}, {tensors[0]}, for several matrices: give the family "
                "that lays its rows out alike (such as gpt_neox), or one pattern each"
            )
        if family is None:
            return dict.fromkeys(layers, LayerRows(geometry))
        return {layer: LayerRows(family_geometry(label, config, family, layer)) for layer in layers}
    if config is None or geometry is None:
        raise UserError(
            f"{tensors[0]} of {label!r} holds several matrices, and only a config.json beside it can tell "
            "how many heads share its rows: put it there"
        )
    layout, found = family.layout_of(config), {}
    for layer in layers:
        own = family_geometry(label, config, family, layer)
        assert own is not None
        try:
            found[layer] = LayerRows(own, projection_rows(layout, own), stored_rows(layout, own))
        except RuntimeError as error:
            raise UserError(
                f"the config.json of {label!r} gives {own}, which the fused weights of family {family.name!r} "
                "cannot have: correct it"
            ) from error
    return found


def _select_layers(label: str, layers: Iterable[int], every_layer: Sequence[int], count: int) -> list[int]:
    """Return the numbers of layers asked for; a negative one counts from the end of those with attention."""
    chosen = set()
    for layer in layers:
        if not -len(every_layer) <= layer < count:
            raise UserError(
                f"layer {layer} was asked for, but {label!r} has {count}: take 0 to {count - 1}, or -1 for the last"
            )
        number = every_layer[layer] if layer < 0 else layer
        if number not in every_layer:
            raise UserError(
                f"layer {layer} of {label!r} has no attention weights: those with attention are "
                f"{some_layers(every_layer)}"
            )
        chosen.add(number)
    return sorted(chosen)


def _missing(label: str, key: tuple[int, Matrix], names: ProjectionNames, by_pattern: bool) -> UserError:
    layer, matrix = key
    if by_pattern and matrix not in {held for _, held in names}:
        return UserError(f"the pattern names no {matrix} tensor: add one, or do not ask for {matrix}")
    return UserError(
        f"{label!r} holds no {matrix} weight of layer {layer}: leave it out, or fetch the checkpoint again"
    )
