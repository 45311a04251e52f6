"""What an experiment of a paper resolved to."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ...settings import Settings
from .declaration import Scale


class ReproductionConfig(Settings):
    """What an experiment resolved to.

    Attributes:
        paper: Which paper.
        name: Which table or figure.
        scale: ``pocket`` or ``paper``.
        kind: The analysis.
        overrides: What the user changed.
        parts: The resolved configuration of each part, by its label.
    """

    paper: str
    name: str
    scale: Scale
    kind: str
    overrides: dict[str, Any] = Field(default={})
    parts: dict[str, dict[str, Any]]
