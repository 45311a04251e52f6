"""The dtype that a model computes in here and now."""

from __future__ import annotations

import torch

from ..models.loading import LanguageModel


def computing_dtype(model: LanguageModel) -> torch.dtype:
    """Return the dtype of the model's matrix products here and now: autocast's where it is on."""
    kind = model.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else model.dtype
