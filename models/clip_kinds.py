"""The kinds of clipping by name, and what each bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

ClipKind = Literal["global_l2", "per_layer_l2", "linf", "value"]

CLIP_NAMES: Mapping[ClipKind, str] = {
    "global_l2": "joint L2 norm of all layers (the paper's code; its text says l_inf)",
    "per_layer_l2": "L2 norm of each layer by itself",
    "linf": "largest entry of all, by one factor (the paper's text; its code has the joint L2 norm)",
    "value": "each entry by itself, which turns the direction",
}
"""What each kind bounds, and which of them Bar Natan et al. mean."""
