"""Which layouts and head counts go with the shapes of attention modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from .live_adapter import plain_module
from .projections import (
    HeadGeometry,
    Layout,
    decoder_geometry,
    falcon_geometry,
    head_geometry,
    latent_geometry,
    layered_geometry,
    multi_query_geometry,
    nested_geometry,
    stored_rows,
    windowed_geometry,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Geometry = Callable[[Any, int], HeadGeometry]

_GEOMETRIES: tuple[Geometry, ...] = (
    head_geometry,
    latent_geometry,
    decoder_geometry,
    windowed_geometry,
    layered_geometry,
    falcon_geometry,
    multi_query_geometry,
    nested_geometry,
)
_ALL_LAYOUTS: tuple[Layout, ...] = ("separate", "gated", "latent", "thirds", "per_head", "grouped", "codegen")


def fitting_layouts(
    attentions: Mapping[int, torch.nn.Module],
    projections: tuple[str, ...],
    output: str,
    config: PretrainedConfig,
) -> Iterator[tuple[Layout, Geometry]]:
    """Yield the layouts and ways to read head counts that the shapes of all layers allow.

    Args:
        attentions: The attention module of each layer, by its number.
        projections: Names of W_Q, W_K and W_V in it, as in `Family`; under latent attention the last two are one.
        output: The output projection in it.
        config: The configuration of the text model.
    """
    fused, latent = len(projections) == 1, len(set(projections)) == 2
    seen: set[tuple[Any, ...]] = set()
    for geometry in _GEOMETRIES:
        for layout in _ALL_LAYOUTS:
            if fused != (layout not in ("separate", "gated", "latent")) or latent != (layout == "latent"):
                continue
            try:
                heads = tuple(geometry(config, number) for number in attentions)
            except Exception:  # configurations raise what they like for what they do not have
                continue
            fits = all(
                _fits(attention, projections, output, layout, own)
                for attention, own in zip(attentions.values(), heads, strict=True)
            )
            if fits and (layout, heads) not in seen and _goes_with(layout, heads):
                seen.add((layout, heads))
                yield layout, geometry


def _fits(
    attention: torch.nn.Module,
    projections: tuple[str, ...],
    output: str,
    layout: Layout,
    geometry: HeadGeometry,
) -> bool:
    rows = stored_rows(layout, geometry)
    names = projections * (3 // len(projections))
    for projection, name in zip(("query", "key", "value"), names, strict=True):
        # An attribute of one of these names may also be None.
        held = {each: child for each, child in attention.named_children() if each in name.split("|")}
        width = linear_shape(next(iter(held.values())))
        if width is None or width[0] != rows[projection]:
            return False
    shape = linear_shape(attention.get_submodule(output))
    return shape is not None and shape[1] == geometry.sizes["output"]


def _goes_with(layout: Layout, heads: tuple[HeadGeometry, ...]) -> bool:
    """Return whether a fused layout is one of its own for these head counts."""
    if layout in ("per_head", "codegen"):
        alone = all(own.heads == own.key_value_heads for own in heads)
        return alone and (layout == "per_head" or all(own.heads % 4 == 0 for own in heads))
    return layout != "grouped" or all(1 < own.key_value_heads < own.heads for own in heads)


def linear_shape(module: torch.nn.Module) -> tuple[int, int] | None:
    """Return how many outputs and inputs a linear map has, None for any other module."""
    plain = plain_module(module)
    if type(plain).__name__ == "Conv1D" and hasattr(plain, "nf"):
        return plain.weight.shape[1], plain.weight.shape[0]
    outputs, inputs = getattr(plain, "out_features", None), getattr(plain, "in_features", None)
    return (outputs, inputs) if isinstance(outputs, int) and isinstance(inputs, int) else None


def is_transposed(attention: torch.nn.Module, names: str) -> bool:
    """Return whether a module of one of these names stores its weight ``[in, out]``."""
    held = [child for name, child in attention.named_children() if name in names.split("|")]
    return any(type(plain_module(module)).__name__ == "Conv1D" for module in held)
