"""The attention projections by name."""

from __future__ import annotations

from typing import Literal

Matrix = Literal["query", "key", "value", "output"]
MATRICES: tuple[Matrix, ...] = ("query", "key", "value", "output")
