"""Seeds derived from names, so that every random draw has its own reproducible generator."""

from __future__ import annotations

import hashlib


def derive_seed(*names: str | int) -> int:
    """Return a 63-bit seed that depends on every name and on nothing else.

    Two draws with different names are independent, and adding a draw somewhere never changes another one.

    Args:
        names: What the draw is for, most general first, such as ``("compare", 0, "demonstrations")``.
    """
    digest = hashlib.sha256("\x1f".join(str(name) for name in names).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
