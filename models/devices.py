"""Which device and dtype a name means, and whether the device is here."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import UserError, shown


def choose_device(device: str | torch.device) -> torch.device:
    """Return the device of a name; ``auto`` is the GPU where there is one, and mps or xpu only when asked for.

    Raises:
        UserError: If there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"no device {shown(device)}: use auto, cpu, cuda, cuda:0, mps or xpu") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {str(device)!r} was asked for, but torch sees no GPU here: use --device cpu")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(
            f"device {str(device)!r} was asked for, and the last one here is cuda:{last}: use that one"
        )
    if chosen.type != "meta":
        try:
            torch.empty(1, device=chosen)
        except Exception as error:
            # What a device needs, its own package or its driver, each fails in its own way.
            raise UserError(
                f"device {str(device)!r} cannot be used here: use auto, cpu, cuda, cuda:0, mps or xpu"
            ) from error
        return chosen
    raise UserError("device 'meta' holds no numbers: use auto, cpu, cuda, cuda:0, mps or xpu")


def running_device(module: Any) -> torch.device:
    """Return where a module with a weight runs: where its weight is, or is brought to if it is offloaded."""
    if not module.weight.is_meta:
        return module.weight.device
    # accelerate's hook, alone or one of several.
    hook = getattr(module, "_hf_hook", None)
    for each in (hook, *getattr(hook, "hooks", ())):
        place = getattr(each, "execution_device", None)
        if place is not None:
            return torch.device(place)
    return module.weight.device


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
        raise UserError(f"no dtype {shown(dtype)}: use auto, {', '.join(sorted(names))}")
    return getattr(torch, dtype)
