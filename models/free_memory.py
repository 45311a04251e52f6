"""How much memory is free where a model runs."""

from __future__ import annotations

from pathlib import Path

import torch

_FALLBACK_MEMORY = 4 << 30
_MEMORY = Path("/proc/meminfo")


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device, or a cautious guess where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "xpu":
        return torch.xpu.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return _available_memory()


def _available_memory() -> int:
    """Return the bytes that are free, or that the system frees when asked, such as those of files that it caches."""
    try:
        with _MEMORY.open() as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return _FALLBACK_MEMORY
