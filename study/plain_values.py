"""Values as JSON and YAML can hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..tasks.given_records import GivenRecords


def plain(value: Any) -> Any:
    """Return a value made of what JSON and YAML know; a slice and records in memory become their text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, GivenRecords):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, slice):
        parts = (value.start, value.stop) if value.step is None else (value.start, value.stop, value.step)
        return ":".join("" if part is None else str(part) for part in parts)
    return value
