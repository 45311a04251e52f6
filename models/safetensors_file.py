"""Reading tensors out of one safetensors file by byte range, whether the bytes lie here or elsewhere.

Unless asked for ``pread``, the library's own reader maps the whole file into memory, so that what was read of it
counts against the process until the file is closed; here each tensor is read by itself and is gone when its reader is
done. The library reads no file from afar, and refuses one for an entry that nobody asked for: another dtype, or
metadata that are no text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError, reason_of
from ..json_text import parse_json
from .plain_files import require_plain
from .tensor_source import StoredTensor, told

# The limit of the format's own parser.
_MAX_HEADER_BYTES = 100_000_000
LFS_START = b"version https://git-lfs"
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class ByteFile(Protocol):
    """Bytes that can be read from any position."""

    @property
    def label(self) -> str:
        """What messages call the file."""
        ...

    @property
    def size(self) -> int:
        """How many bytes the file has; known after the first read at the latest."""
        ...

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill the buffer with the bytes from ``start`` on, or raise."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class LocalFile:
    """A file on this machine.

    Attributes:
        label: Its path.
        size: Its length in bytes.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            FileNotFoundError: If there is none.
            UserError: If it is no plain file, or cannot be opened.
        """
        self.label = str(path)
        require_plain(path)
        try:
            self._file = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UserError(f"cannot read {self.label!r}: {error.strerror} (give a readable file)") from error
        self.size = path.stat().st_size

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill the buffer with the bytes from ``start`` on.

        Raises:
            UserError: If the file ends too early.
        """
        self._file.seek(start)
        position = 0
        while position < len(buffer):
            received = self._file.readinto(buffer[position:])
            if not received:
                raise truncated(self.label, start + position, start + len(buffer))
            position += received

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def lfs_pointer(label: str, what: str = "weights") -> UserError:
    """Return the error for a file whose content is elsewhere."""
    return UserError(
        f"{label!r} is a Git LFS pointer and no {what}: fetch what it points to with git lfs pull"
    )


def truncated(label: str, size: int, needed: int) -> UserError:
    """Return the error for a file that ends too early."""
    return UserError(f"{label!r} is truncated: it ends after {size} of {needed} bytes, so fetch it again")


class SafetensorsFile:
    """One safetensors file: its header is read at once, each tensor when it is asked for.

    The format: eight bytes of header length, little-endian; a JSON header with dtype, shape and byte offsets
    of each tensor; the tensors (https://github.com/huggingface/safetensors, "Format").

    Attributes:
        stored: Every tensor of the file by its name.
    """

    def __init__(self, file: ByteFile) -> None:
        """Read the header.

        Raises:
            UserError: If the header is damaged, or the file is shorter than the header says.
        """
        self._file = file
        header, self._data_start = _read_header(file)
        self._offsets: dict[str, tuple[int, int]] = {}
        stored: dict[str, StoredTensor] = {}
        for name, entry in header.items():
            stored[name], self._offsets[name] = _parse_entry(file.label, name, entry)
        self.stored: Mapping[str, StoredTensor] = MappingProxyType(stored)
        end = self._data_start + _end_of(file.label, self._offsets)
        if file.size < end:
            raise truncated(file.label, file.size, end)

    def read(self, name: str) -> Tensor:
        """Read one tensor, and no byte of another.

        Raises:
            UserError: If torch has no such dtype, or the bytes cannot be read.
        """
        dtype, shape = self.stored[name].dtype, self.stored[name].shape
        if isinstance(dtype, str):
            raise UserError(
                f"{told(name)} of {self._file.label!r} is stored as {dtype[:20]}, which torch does not have: "
                "give an unquantised checkpoint"
            )
        start, stop = self._offsets[name]
        if start == stop:
            return torch.empty(shape, dtype=dtype)
        # Not torch.empty: its memory is aligned, and the system's allocator seldom reuses what it aligned once, so
        # that tensor after tensor would grow the process.
        buffer: Any = np.empty(stop - start, dtype=np.uint8)
        self._file.read_into(self._data_start + start, memoryview(buffer))
        return torch.from_numpy(buffer).view(dtype).view(shape)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _read_header(file: ByteFile) -> tuple[dict[str, Any], int]:
    """Return the header's entries and the position of the first tensor."""
    start = bytearray(8)
    file.read_into(0, memoryview(start))
    if LFS_START.startswith(start):
        raise lfs_pointer(file.label)
    length = int.from_bytes(start, "little")
    if length > _MAX_HEADER_BYTES:
        raise _corrupt(file.label, f"it claims {length} bytes")
    if 8 + length > file.size:
        raise truncated(file.label, file.size, 8 + length)
    raw = bytearray(length)
    file.read_into(8, memoryview(raw))
    try:
        header = parse_json(raw)
    except ValueError as error:
        raise _corrupt(file.label, f"it is no JSON: {reason_of(error)}") from error
    if not isinstance(header, dict):
        raise _corrupt(file.label, "it lists no tensors")
    header.pop("__metadata__", None)
    return header, 8 + length


def _end_of(label: str, offsets: Mapping[str, tuple[int, int]]) -> int:
    """Return where the last tensor ends; as the format has it, each begins where the one before ends."""
    end = 0
    for name, (start, stop) in sorted(offsets.items(), key=lambda entry: entry[1]):
        if start != end:
            raise _corrupt(label, f"the bytes of {told(name)} do not begin where those before it end")
        end = stop
    return end


def _parse_entry(label: str, name: str, entry: Any) -> tuple[StoredTensor, tuple[int, int]]:
    try:
        shape = tuple(_whole(size) for size in entry["shape"])
        start, stop = (_whole(offset) for offset in entry["data_offsets"])
        dtype = _DTYPES.get(entry["dtype"], str(entry["dtype"]))
    except (TypeError, ValueError, KeyError) as error:
        raise _corrupt(label, f"its entry for {told(name)} is incomplete") from error
    known = not isinstance(dtype, str)
    if not 0 <= start <= stop or (known and stop - start != math.prod(shape) * dtype.itemsize):
        raise _corrupt(label, f"the bytes of {told(name)} do not fit its shape")
    return StoredTensor(shape, dtype), (start, stop)


def _whole(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(number)
    return number


def _corrupt(label: str, reason: str) -> UserError:
    return UserError(f"{label!r} has a damaged safetensors header ({reason}): fetch the file again")
