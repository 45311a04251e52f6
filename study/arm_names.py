"""What the ways of learning are called in the tables of studies, in their figures and in claims about them."""

from __future__ import annotations

from collections.abc import Mapping

ICL, ZERO_SHOT = "ICL", "zero-shot"

ARM_NAMES: Mapping[str, str] = {
    "shen": "GD",
    "shen_sgd": "SGD",
    "shen_adam": "Adam",
    "shen_deep": "GD, deep layer",
    "shen_middle": "GD, middle layer",
    "barnatan_lcft": "layer-causal",
}
"""What presets are called; another one keeps its name."""
