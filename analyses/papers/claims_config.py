"""What the claims of the papers are judged by."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from ...on_command_line import OnCommandLine
from ...settings import Settings
from .declaration import Scale


class ClaimsConfig(Settings):
    """Every empirical sentence of both papers, judged by experiments that were run.

    Attributes:
        experiments: The directory of the experiments' run directories, one folder a table or figure.
        scale: At which scale they ran, ``pocket`` or ``paper``.
        overrides: Settings that were changed for all of them.
        judged_by: The experiments that were there.
    """

    analysis: ClassVar[str] = "claims"

    experiments: Annotated[str, OnCommandLine(argument=True)] = "."
    scale: Scale = "pocket"
    overrides: Annotated[dict[str, Any], OnCommandLine(hidden=True)] = Field(default={})
    judged_by: Annotated[tuple[str, ...], OnCommandLine(hidden=True)] = ()

    @property
    def run_name(self) -> tuple[str, ...]:
        """Return what names a run directory."""
        return ("claims", self.scale)
