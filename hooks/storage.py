"""Arrays for a capture: in memory, in scratch where they are large, or inside a safetensors file that is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError, shown
from ..scratch_files import IN_MEMORY_BYTES, NO_SPACE, map_scratch, reserve

_NAMES = {torch.float32: ("F32", np.float32), torch.bool: ("BOOL", np.bool_), torch.int64: ("I64", np.int64)}
_ALIGNED = 64
Shapes = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


def allocate(shapes: Shapes) -> dict[str, Tensor]:
    """Return zeros of the given shapes, in memory."""
    return {name: torch.zeros(shape, dtype=dtype) for name, (shape, dtype) in shapes.items()}


def allocate_scratch(shapes: Shapes) -> dict[str, Tensor]:
    """Return zeros of the given shapes: in memory, or mapped from a file without a name where they are large.

    Raises:
        UserError: If the disk has no room for them.
    """
    if not lies_on_disk(total_bytes(shapes)):
        return allocate(shapes)
    sizes = {name: total_bytes({name: each}) for name, each in shapes.items()}
    starts, end = {}, 0
    for name, size in sizes.items():
        starts[name] = end
        end += -(-size // _ALIGNED) * _ALIGNED
    whole = torch.from_numpy(np.frombuffer(map_scratch(end), dtype=np.uint8))
    return {
        name: whole[starts[name] : starts[name] + sizes[name]].view(dtype).view(shape)
        for name, (shape, dtype) in shapes.items()
    }


def lies_on_disk(size: int) -> bool:
    """Tell whether so many bytes are too many for memory."""
    return size > IN_MEMORY_BYTES


def scratch_zeros(*shape: int, dtype: torch.dtype) -> Tensor:
    """Return zeros of one shape: in memory, or on disk as `allocate_scratch` does."""
    return allocate_scratch({"array": (shape, dtype)})["array"]


def total_bytes(shapes: Shapes) -> int:
    """Return the bytes that arrays of these shapes take."""
    return sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in shapes.values())


def allocate_in_file(path: Path, shapes: Shapes, metadata: Mapping[str, str]) -> dict[str, Tensor]:
    """Lay out a safetensors file and return its arrays, mapped into memory, to be filled in any order.

    Args:
        path: The file; it is created with its full size, so a full disk shows before the work starts.
        shapes: Shape and dtype of each array.
        metadata: What the header says beside the arrays.

    Raises:
        UserError: If the disk has no room for the file.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    start = 0
    # Widest entries first: every array is then aligned to its own entries.
    order = sorted(shapes, key=lambda name: -shapes[name][1].itemsize)
    places: dict[str, int] = {}
    for name in order:
        shape, dtype = shapes[name]
        size = int(np.prod(shape)) * dtype.itemsize
        places[name] = start
        header[name] = {
            "dtype": _NAMES[dtype][0],
            "shape": list(shape),
            "data_offsets": [start, start + size],
        }
        start += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    try:
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            reserve(file.fileno(), file.tell() + start)
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno not in NO_SPACE:
            raise
        raise UserError(
            f"cannot reserve {start + len(text) + 8} bytes for a capture at {shown(path)}: the disk is full or a "
            "limit on file sizes is reached; free some space or record fewer layers, sites or positions"
        ) from error
    arrays = {}
    for name, (shape, dtype) in shapes.items():
        offset = 8 + len(text) + places[name]
        mapped = np.memmap(path, dtype=_NAMES[dtype][1], mode="r+", offset=offset, shape=shape)
        arrays[name] = torch.from_numpy(mapped)
    return arrays
