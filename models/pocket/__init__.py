"""The embedded pocket model: a fixture on which the whole pipeline runs with no network (see CARD.md)."""

from .load import POCKET_MODELS, pocket_path, pocket_steps

__all__ = ["POCKET_MODELS", "pocket_path", "pocket_steps"]
