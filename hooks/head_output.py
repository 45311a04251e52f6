"""What each head adds to the attention output: its slice of the output projection's input through its own weight."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from torch import Tensor

from ..errors import UserError
from ..models.layer_parts import LayerParts
from ..models.live_adapter import acting_tensors, plain_module
from ..models.plain_weights import is_plain
from ..models.projections import HeadGeometry


def head_outputs(given: Tensor, weight: Tensor, heads: int) -> Tensor:
    """Split what a linear map gives by the heads that its input is made of, without its bias.

    Args:
        given: The input of the output projection, ``[B, P, H * D]``.
        weight: Its weight, ``[d, H * D]``.
        heads: H.

    Returns:
        ``[B, P, H, d]`` in fp32; the sum over heads is the map's output less its bias.
    """
    by_head = rearrange(given.float(), "b p (h v) -> b p h v", h=heads)
    weight = rearrange(weight.to(given.device).float(), "d (h v) -> h v d", h=heads)
    with torch.autocast(given.device.type, enabled=False):
        return einsum(by_head, weight, "b p h v, h v d -> b p h d")


def output_weight(part: LayerParts) -> Tensor:
    """Return the weight of a layer's output projection as it acts, ``[d, H * D]``, adapters included.

    Raises:
        UserError: If it is no plain linear map, or its weight is quantised or offloaded.
    """
    from transformers.pytorch_utils import Conv1D

    plain = plain_module(part.output_projection)
    weight = plain._parameters.get("weight")
    # Falcon's own class multiplies and adds in the same order as nn.Linear; others may round their inputs.
    linear = type(plain) in (torch.nn.Linear, Conv1D) or type(plain).__name__ == "FalconLinear"
    if not linear or weight is None or not is_plain(weight):
        raise UserError(
            f"the output projection of layer {part.index} ({type(plain).__name__}) is no plain linear map whose "
            "weight can be read (quantised or offloaded weights cannot): leave head_output out of the plan's sites"
        )
    acting = acting_tensors(part.output_projection)["weight"].read()
    return acting.T if isinstance(plain, Conv1D) else acting


def refuse_other_input(part: LayerParts, geometry: HeadGeometry) -> None:
    """Refuse an output projection whose input is not made of the heads that the family's row says.

    Raises:
        UserError: If it is so, or its weight cannot be read.
    """
    entries, expected = output_weight(part).shape[1], geometry.sizes["output"]
    if entries != expected:
        raise UserError(
            f"the output projection of layer {part.index} takes {entries} entries and not the {expected} of "
            f"{geometry.heads} heads: leave head_output out of the plan's sites"
        )
