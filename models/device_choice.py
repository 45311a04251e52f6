"""Which device and dtype a model is loaded with."""

from __future__ import annotations

import torch

from ..errors import UserError


def choose_device(device: str | torch.device) -> torch.device:
    """Return the device of a name; ``auto`` is the GPU where there is one.

    Raises:
        UserError: If there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"no device {device!r}: use auto, cpu, cuda or cuda:0") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {str(device)!r} was asked for, but torch sees no GPU here: use --device cpu")
    return chosen


def choose_dtype(dtype: str | torch.dtype, device: torch.device) -> str | torch.dtype:
    """Return the dtype of a name; ``auto`` is the checkpoint's own on a GPU and float32 on a CPU.

    Raises:
        UserError: If there is no such dtype.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        return "auto" if device.type == "cuda" else torch.float32
    names = {"float32", "float16", "bfloat16", "float64"}
    if dtype not in names:
        raise UserError(f"no dtype {dtype!r}: use auto, {', '.join(sorted(names))}")
    return getattr(torch, dtype)
