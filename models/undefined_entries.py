"""Which entries of weights and gradients are no numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def undefined_entries(weight: Tensor) -> int:
    """Return how many entries of a weight are NaN or infinite."""
    wide = weight if weight.dtype.itemsize > 1 else weight.float()
    # Looking at every entry takes ten times as long, and few weights have a reason for it.
    return 0 if all_finite([wide]) else wide.numel() - int(wide.isfinite().sum())


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Return whether no tensor, of more than one byte an entry, holds NaN or infinity."""
    # Of each tensor the ends of its range: NaN comes through, and only the last line waits for a device.
    finite = [
        torch.isfinite(torch.stack(torch.aminmax(tensor.detach()))).all()
        for tensor in tensors
        if tensor.numel()
    ]
    return all(torch.stack([each.to(finite[0].device) for each in finite]).tolist()) if finite else True
