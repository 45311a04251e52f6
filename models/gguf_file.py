"""What a GGUF file says of itself: its settings and its tensors, read within the bounds of the file.

The format (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): the word GGUF, version, numbers of tensors and
of settings; the settings by key; name, shape, type and offset of each tensor; the tensors. Libraries believe its
numbers, so that a damaged one could keep them busy for ever; here each is held against the bytes that are there.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, shown
from ..text_files import is_folder
from .plain_files import require_plain
from .safetensors_file import LFS_START, lfs_pointer, truncated
from .tensor_source import told

ENDING = ".gguf"
_VERSIONS = (2, 3)
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
_MOST_DIMENSIONS = 4
_SHARD = re.compile(r"-\d{5}-of-(\d{5})\.gguf$", re.IGNORECASE)


@dataclass(frozen=True)
class GGUFTensor:
    """One tensor of the file.

    Attributes:
        shape: Its shape in torch's order.
        kind: The name of the type that it is stored in, such as ``Q8_0``.
    """

    shape: tuple[int, ...]
    kind: str


@dataclass(frozen=True)
class GGUFFile:
    """What a GGUF file says of itself.

    Attributes:
        path: Where it lies.
        architecture: The type of the model, in llama.cpp's words.
        settings: The numbers and texts that it gives by key; of a list its length.
        tensors: Every tensor by its name.
    """

    path: Path
    architecture: str
    settings: Mapping[str, Any]
    tensors: Mapping[str, GGUFTensor]

    @property
    def dequantised(self) -> str | None:
        """The `kinds` of a file in which some tensor is no plain float, else None."""
        plain = ("F64", "F32", "F16", "BF16")
        return None if all(tensor.kind in plain for tensor in self.tensors.values()) else self.kinds

    @property
    def kinds(self) -> str:
        """The types that tensors are stored in and how many there are of each, such as ``15 Q8_0, 6 F32``."""
        counts = Counter(tensor.kind for tensor in self.tensors.values())
        return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())

    def setting(self, key: str) -> Any:
        """Return what the file gives for a key of its architecture, None if nothing."""
        return self.settings.get(f"{self.architecture}.{key}")


def is_gguf(name: str | Path) -> bool:
    """Return whether a name is that of a GGUF file, there or not; a folder may be called so, too."""
    return str(name).lower().endswith(ENDING) and not is_folder(name)


def read_gguf(path: Path) -> GGUFFile:
    """Read what stands before the tensors of a GGUF file.

    Raises:
        UserError: If it is no file, damaged, one of several parts, or the extra ``gguf`` is missing.
    """
    try:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    except ImportError as error:
        raise UserError(f"{shown(path)} needs a package: pip install 'iclprobe[gguf]'") from error
    try:
        require_plain(path)
    except FileNotFoundError:
        raise no_gguf(path) from None
    shard = _SHARD.search(path.name)
    if shard and int(shard[1]) > 1:
        raise _in_parts(path, int(shard[1]))
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            reader = _Reader(path, content)
            settings = reader.settings()
            if settings.get("split.count", 0) > 1:
                raise _in_parts(path, settings["split.count"])
            sizes = {int(kind): (kind.name, *GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType}
            tensors = reader.tensors(sizes, settings.get("general.alignment", 32))
    except (OSError, ValueError, TypeError, ArithmeticError) as error:
        if isinstance(error, UserError):
            raise
        # An empty file cannot be mapped, and a setting may be of a type that it never has.
        raise damaged(path, "it cannot be read") from error
    return GGUFFile(path, settings["general.architecture"], settings, tensors)


def no_gguf(path: str | Path) -> UserError:
    """Return the refusal of a name that no file has."""
    return UserError(f"there is no GGUF file {shown(path)}: give the path of one on this machine")


def damaged(path: Path, reason: str) -> UserError:
    """Return the refusal of a file that is no sound GGUF."""
    return UserError(f"{shown(path)} is no sound GGUF file ({reason}): fetch it again")


def _in_parts(path: Path, parts: int) -> UserError:
    return UserError(
        f"{shown(path)} is one of {parts} parts of a GGUF: merge them with llama-gguf-split --merge, and give the "
        "merged file"
    )


class _Reader:
    """The bytes of a GGUF file in their order."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path, self._content, self._at = path, content, 0
        start = bytes(content[:4])
        if start != b"GGUF":
            if LFS_START.startswith(start) and start:
                raise lfs_pointer(str(path))
            raise damaged(path, "it does not begin with GGUF")
        self._at = 4
        version = self._number("I")
        if version not in _VERSIONS:
            raise damaged(path, f"its version is {version}, and {_VERSIONS[0]} and {_VERSIONS[1]} are read")
        self._n_tensors, self._n_settings = self._count(24), self._count(12)

    def settings(self) -> dict[str, Any]:
        """Read the settings, which stand first."""
        found: dict[str, Any] = {}
        for _ in range(self._n_settings):
            key = self._text()
            found[key] = self._value(self._number("I"))
        if not isinstance(found.get("general.architecture"), str):
            raise damaged(self._path, "it does not name its architecture")
        return found

    def tensors(self, sizes: Mapping[int, tuple[str, int, int]], alignment: int) -> dict[str, GGUFTensor]:
        """Read the names, shapes and types of the tensors, and see that their bytes are there.

        Args:
            sizes: Name, entries of a block and bytes of a block, for each type by its number.
            alignment: Where the first tensor may begin.
        """
        found: dict[str, GGUFTensor] = {}
        end = 0
        for _ in range(self._n_tensors):
            name = self._text()
            dimensions = self._number("I")
            if dimensions > _MOST_DIMENSIONS:
                raise damaged(self._path, f"{told(name)} has {dimensions} dimensions")
            shape = tuple(reversed([self._number("Q") for _ in range(dimensions)]))
            kind, offset = self._number("I"), self._number("Q")
            if kind not in sizes:
                raise UserError(
                    f"{told(name)} of {shown(self._path)} is of type {kind}, which the installed gguf does not know: "
                    "upgrade it (pip install -U gguf)"
                )
            label, block, size = sizes[kind]
            if shape and shape[-1] % block:
                raise damaged(self._path, f"{told(name)} is no whole number of blocks of {label}")
            if name in found:
                raise damaged(self._path, f"it holds {told(name)} twice")
            found[name] = GGUFTensor(shape, label)
            end = max(end, offset + math.prod(shape) // block * size)
        needed = -(-self._at // alignment) * alignment + end
        if len(self._content) < needed:
            raise truncated(str(self._path), len(self._content), needed)
        return found

    def _value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _TEXT:
            return self._text()
        if kind != _LIST:
            raise damaged(self._path, f"a setting is of type {kind}")
        kind = self._number("I")
        if kind in _NUMBERS:
            size = struct.calcsize(_NUMBERS[kind])
            count = self._count(size)
            self._skip(count * size)
        elif kind == _TEXT:
            count = self._count(8)
            for _ in range(count):
                self._skip(self._number("Q"))
        else:
            raise damaged(self._path, f"a setting is a list of type {kind}")
        return count

    def _text(self) -> str:
        length = self._number("Q")
        start = self._at
        self._skip(length)
        try:
            return self._content[start : self._at].decode("utf-8")
        except UnicodeDecodeError:
            raise damaged(self._path, "a name is no text") from None

    def _count(self, least: int) -> int:
        """Read how many things follow, each of which takes so many bytes at least."""
        count = self._number("Q")
        if count * least > len(self._content) - self._at:
            raise truncated(str(self._path), len(self._content), self._at + count * least)
        return count

    def _number(self, kind: str) -> Any:
        start = self._at
        self._skip(struct.calcsize(f"<{kind}"))
        return struct.unpack_from(f"<{kind}", self._content, start)[0]

    def _skip(self, size: int) -> None:
        if size > len(self._content) - self._at:
            raise truncated(str(self._path), len(self._content), self._at + size)
        self._at += size
