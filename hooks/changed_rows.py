"""Other rows in the place of one head's rows of a weight, for as long as a context lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..models.layer_parts import LayerParts
from ..models.live_adapter import plain_module
from ..models.plain_weights import is_plain
from ..models.projections import Projection
from ..seeds import derive_seed


def plain_weight(part: LayerParts, projection: Projection) -> Tensor | None:
    """Return the weight that holds a projection, or None where it is quantised or offloaded."""
    weight = plain_module(part.projections[projection])._parameters.get("weight")
    return weight if weight is not None and weight.dim() == 2 and is_plain(weight) else None


@contextmanager
def other_rows_in(
    weight: Tensor, dim: int, rows: Tensor, *, orthogonal_to: Tensor | None, draw: int
) -> Iterator[None]:
    """Put other rows in the place of some rows of a weight, in place, and put them back bit for bit.

    Args:
        weight: The weight.
        dim: Its dimension of outputs.
        rows: Indices in that dimension.
        orthogonal_to: An input ``[in]`` for which nothing may change.
        draw: Which draw of noise, where noise it is.
    """
    # Past autograd's count of versions: nothing has changed for a graph that waits for its backward.
    data, rows = weight.data, rows.to(weight.device)
    kept = data.index_select(dim, rows)
    others = _other_rows(kept.T if dim else kept, data, orthogonal_to, draw)
    try:
        data.index_copy_(dim, rows, others.T if dim else others)
        # Autocast would go on with its copies of the weights as they were.
        torch.clear_autocast_cache()
        yield
    finally:
        data.index_copy_(dim, rows, kept)
        torch.clear_autocast_cache()


def _other_rows(rows: Tensor, like: Tensor, orthogonal_to: Tensor | None, draw: int) -> Tensor:
    """Return other rows ``[rows, in]`` in place of those of a head: the same in another order, or with noise on them.

    In another order they leave a norm over all heads as it is.
    """
    reordered = rows.roll(1, dims=0)
    if orthogonal_to is None and not torch.equal(reordered, rows):
        return reordered
    generator = torch.Generator().manual_seed(derive_seed("changed rows", *rows.shape, draw))
    size = like.detach().float().square().mean().sqrt().item() or rows.shape[1] ** -0.5
    noise = size * torch.randn(rows.shape, generator=generator, dtype=torch.float64)
    if orthogonal_to is not None:
        direction = torch.nn.functional.normalize(orthogonal_to.detach().double().cpu(), dim=0)
        # Large, or its effect would drown in what half precision rounds of scores.
        noise = 8 * (noise - torch.outer(noise @ direction, direction))
    return rows + noise.to(rows)
