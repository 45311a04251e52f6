"""What the claims of the papers were judged by."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from .declaration import Scale


class ClaimsConfig(BaseModel):
    """What the claims were judged by.

    Attributes:
        scale: ``pocket`` or ``paper``.
        overrides: What the user changed.
        experiments: The experiments that were there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: Scale
    overrides: dict[str, Any] = {}
    experiments: tuple[str, ...]
