"""Clipping gradients: four ways that are easily taken for each other.

Bar Natan et al. write of clipping "to 12.0 in l_inf norm"; their code clips the global L2 norm over all trained
layers. A global norm of 12 over 24 layers leaves the largest entry far below 12, and an element-wise clamp
changes the direction, which scaling does not. None stands for another here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .clip_kinds import ClipKind


def clip_gradients(
    gradients: Sequence[Tensor], layers: Sequence[int | None], kind: ClipKind, limit: float
) -> list[Tensor]:
    """Return clipped gradients (R10).

    ``global_l2`` scales all together so that their joint L2 norm is at most the limit (the reference's code);
    ``per_layer_l2`` does so for each layer by itself; ``linf`` scales all together so that no entry is larger than
    the limit (the paper's text); ``value`` cuts each entry to the limit by itself.

    Args:
        gradients: Of each trained tensor.
        layers: The layer that each belongs to; None for what lies outside the layers, which counts as one layer.
        kind: Which.
        limit: The limit, above 0.
    """
    if kind == "value":
        return [gradient.clamp(-limit, limit) for gradient in gradients]
    if kind == "per_layer_l2":
        factors: Mapping[int | None, Tensor] = {
            layer: _shrink(
                _joint_norm([g for g, own in zip(gradients, layers, strict=True) if own == layer]), limit
            )
            for layer in dict.fromkeys(layers)
        }
        return [
            gradient * factors[layer].to(gradient.device)
            for gradient, layer in zip(gradients, layers, strict=True)
        ]
    if kind == "global_l2":
        factor = _shrink(_joint_norm(gradients), limit)
    else:
        device = gradients[0].device
        factor = _shrink(
            torch.stack([gradient.abs().max().to(device) for gradient in gradients]).max(), limit
        )
    return [gradient * factor.to(gradient.device) for gradient in gradients]


def _joint_norm(gradients: Sequence[Tensor]) -> Tensor:
    device = gradients[0].device
    return torch.stack([torch.linalg.vector_norm(gradient).to(device) for gradient in gradients]).norm()


def _shrink(norm: Tensor, limit: float) -> Tensor:
    """Return the factor, at most 1, that brings a norm down to the limit."""
    return (limit / norm.clamp(min=torch.finfo(norm.dtype).tiny)).clamp(max=1.0)
