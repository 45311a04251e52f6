"""Whether an engine's model says what the model itself says."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...errors import UserError, shown
from ...models.loading import LanguageModel
from ..computing_dtype import computing_dtype
from ..tolerances import relative_deviation, tolerance_of


def require_same_logits(
    model: LanguageModel, engine: str, exists: Tensor, expected: Any, output: Any
) -> None:
    """Hold the logits of an engine against the model's own, at the tokens whose logits were asked for.

    Args:
        model: The model.
        engine: What is called so in the message.
        exists: Which of those tokens are real, ``[B, U]``; what stands behind a prompt may be computed in any way.
        expected: What the model's own forward returned.
        output: What the engine's returned.

    Raises:
        UserError: If they differ by more than rounding.
    """
    limit = tolerance_of(computing_dtype(model))
    device = expected.logits.device
    found = relative_deviation(expected.logits, output.logits.to(device), exists[..., None].to(device))
    # What is no number is not within any limit.
    if not found <= limit:
        raise UserError(
            f"{engine} gives other logits than {shown(model.name)} itself ({type(model.module).__name__}: "
            f"{found:.0e} of the largest, and rounding explains {limit:.0e}): take another engine"
        )
