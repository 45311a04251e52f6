"""What every benchmark is told."""

from __future__ import annotations

from dataclasses import dataclass

from .shapes import USUAL, Shape


@dataclass(frozen=True)
class Options:
    """What every benchmark is told.

    Attributes:
        pairs: Interleaved rounds of the slow comparisons.
        shape: What captures are timed at; its queries are those of what shares the prefix.
        memory: Whether to measure peak memory, each in a process of its own.
        beside: Another checkout, whose whole commands are timed in turn with this one's.
    """

    pairs: int = 3
    shape: Shape = USUAL
    memory: bool = True
    beside: str | None = None
