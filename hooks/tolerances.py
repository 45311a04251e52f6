"""How far apart two computations of the same numbers may lie, by the dtype that they compute in."""

from __future__ import annotations

import torch
from torch import Tensor

# Half precision keeps 11 (float16) or 8 (bfloat16) bits of scores.
_TOLERANCES = {torch.float16: 2e-2, torch.bfloat16: 1e-1}


def tolerance_of(dtype: torch.dtype) -> float:
    """Return the largest deviation that rounding explains, relative to the largest entry of a row."""
    return _TOLERANCES.get(dtype, 1e-4)


def relative_deviation(want: Tensor, got: Tensor, exists: Tensor | None = None) -> float:
    """Return the worst entry of rows ``[…, W]``, relative to the largest of its row.

    Args:
        want: The rows.
        got: What should equal them.
        exists: Which entries count, broadcast over the rows; all by default.
    """
    want, got = want.float(), got.float()
    largest = want.abs().amax(dim=-1, keepdim=True).clamp(min=1e-3 * want.abs().max().item())
    # Rows of nothing but zeros have no size of their own.
    deviation = (want - got).abs() / largest.clamp(min=torch.finfo(torch.float32).tiny)
    return (deviation if exists is None else deviation.masked_fill(~exists, 0.0)).max().item()
