"""Importing without collecting garbage: of what is imported nothing is garbage, and torch imports a great deal."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Collect no garbage while torch is imported, and never look through what was imported again.

    Where torch is there already, nothing is done: this process may be somebody else's.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
