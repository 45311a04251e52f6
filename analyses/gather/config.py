"""What of a sweep is put together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from ...on_command_line import OnCommandLine
from ...settings import Settings


class GatherConfig(Settings):
    """Which sweep, and which of its axes are draws.

    Attributes:
        sweep: The sweep's folder.
        draws: The axis whose points are draws: means and deviations are over it, and comparisons paired by it.
        level: Coverage of the intervals.
    """

    analysis: ClassVar[str] = "gather"

    sweep: Annotated[str, OnCommandLine(argument=True)] = "."
    draws: str = "seeds"
    level: float = Field(default=0.95, gt=0, lt=1)

    @property
    def run_name(self) -> tuple[str, ...]:
        """Return what names a run directory."""
        return ("gather", Path(self.sweep).name)
