"""What a run will take of time, memory and disk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Needed:
    """What a run takes, as is known before it.

    Attributes:
        seconds: How long.
        memory_bytes: The most memory at once.
        disk_bytes: What its run directory holds.
    """

    seconds: float
    memory_bytes: int
    disk_bytes: int
