"""Arrays and files as a page carries them: compressed, and as text that no reader of HTML takes for anything else."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

_LEVEL = 6


def packed_bytes(content: bytes, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> str:
    """Return bytes, deflated, in base64.

    Args:
        content: The bytes.
        strategy: What zlib looks for in them.
    """
    deflate = zlib.compressobj(_LEVEL, strategy=strategy)
    return base64.b64encode(deflate.compress(content) + deflate.flush()).decode("ascii")


def packed(values: np.ndarray) -> dict[str, Any]:
    """Return an array of float16 or float32 with its shape; first bytes of all numbers come first, which packs best.

    Args:
        values: Any shape; NaN where there is nothing.
    """
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    planes = little.reshape(-1).view(np.uint8).reshape(-1, little.dtype.itemsize).T
    # In such bytes a search for longer matches finds nothing more, and takes twenty times as long.
    data = packed_bytes(planes.tobytes(), zlib.Z_RLE)
    return {"kind": values.dtype.name, "shape": list(values.shape), "data": data}


def json_for_script(text: str) -> str:
    """Return JSON in which nothing ends or begins a script, a comment or a line, whatever its texts hold."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
