"""Working memory that is taken and given back often without the process growing."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def scratch(*shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a tensor with nothing in it yet.

    On a CPU its memory is numpy's and not torch's: torch aligns what it takes, and the system's allocator seldom
    finds room for another aligned piece where one has been, so that one after another they scatter over the heap.

    Args:
        shape: Its shape.
        dtype: Its dtype.
        device: Where it is.
    """
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    memory = np.empty(math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(memory).view(dtype).view(shape)
