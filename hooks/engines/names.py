"""The engines by name, as configurations and the command line say them."""

from __future__ import annotations

from typing import Literal, get_args

EngineName = Literal["native", "transformer-lens", "nnsight"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
