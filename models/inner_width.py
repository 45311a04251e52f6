"""How wide a model is inside its MLPs, which decides what its activations weigh."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .loading import LanguageModel


def inner_width(model: LanguageModel) -> int:
    """Return the width inside the MLP, of the widest layer where the configuration lists one a layer (Gemma 3n)."""
    inner = getattr(model.module.config.get_text_config(), "intermediate_size", None) or 4 * model.width
    return max(inner) if isinstance(inner, list | tuple) else inner
