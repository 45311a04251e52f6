"""What the claims of the papers were judged by."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ...settings import Settings
from .declaration import Scale


class ClaimsConfig(Settings):
    """What the claims were judged by.

    Attributes:
        scale: ``pocket`` or ``paper``.
        overrides: What the user changed.
        experiments: The experiments that were there.
    """

    scale: Scale
    overrides: dict[str, Any] = Field(default={})
    experiments: tuple[str, ...]
