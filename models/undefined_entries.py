"""How many entries of a weight are no numbers."""

from __future__ import annotations

import math

from torch import Tensor


def undefined_entries(weight: Tensor) -> int:
    """Return how many entries of a weight are NaN or infinite."""
    # Both ends in one pass: looking at every entry takes ten times as long, and few weights have a reason for it.
    low, high = (weight if weight.dtype.itemsize > 1 else weight.float()).aminmax()
    if math.isfinite(float(low)) and math.isfinite(float(high)):
        return 0
    return weight.numel() - int(weight.isfinite().sum())
