"""Which weights are plain numbers: neither codes of others (quantised) nor elsewhere (offloaded)."""

from __future__ import annotations

import torch
from torch import Tensor

PLAIN_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def stored_as(tensor: Tensor) -> torch.dtype | str:
    """Return the dtype of a tensor's numbers, or the name of its class where that keeps them in a way of its own.

    torchao's quantised tensors say that they are float32.
    """
    return tensor.dtype if type(tensor) in (Tensor, torch.nn.Parameter) else type(tensor).__name__


def is_plain(tensor: Tensor) -> bool:
    """Return whether the numbers of a weight can be read, and changed in place."""
    return not tensor.is_meta and stored_as(tensor) in PLAIN_DTYPES
