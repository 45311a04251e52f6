"""What is asked of an experiment of a paper, and what it resolved to."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from ...on_command_line import OnCommandLine
from ...settings import Settings
from .declaration import Experiment, Scale
from .overrides import read_overrides


class ReproductionConfig(Settings):
    """One table or figure of a paper.

    Attributes:
        paper: Which paper: ``shen2024`` or ``barnatan``.
        name: Which table or figure, such as ``fig4`` or ``table2``.
        scale: ``pocket`` runs on the embedded model and tasks, ``paper`` on the paper's own.
        overrides: Settings of the analysis in place of the declared ones.
        experiment: What the paper did, as data; found by its name where it is not given.
        settings: What each part resolved to, by its label.
    """

    analysis: ClassVar[str] = "reproduce"

    paper: Annotated[str, OnCommandLine(argument=True)]
    name: Annotated[str, OnCommandLine(argument=True)]
    scale: Scale = "pocket"
    overrides: Annotated[
        dict[str, Any],
        OnCommandLine(("--set",), read=read_overrides, example="limit=32", repeated=True),
    ] = Field(default={})
    experiment: Annotated[Experiment | None, OnCommandLine(hidden=True)] = None
    settings: Annotated[dict[str, dict[str, Any]], OnCommandLine(hidden=True)] = Field(default={})

    @property
    def run_name(self) -> tuple[str, ...]:
        """Return what names a run directory."""
        return (self.paper, self.name, self.scale)
