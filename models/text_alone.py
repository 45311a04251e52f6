"""Whether a model reads a text by itself, from left to right, as everything here asks of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UserError
from .forward_signature import forward_signature

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def refuse_other_readers(model: PreTrainedModel) -> None:
    """Refuse a model that needs more than a text, or whose tokens see those behind them.

    Raises:
        UserError: If it is one.
    """
    needed = [
        name
        for name, parameter in forward_signature(model).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and name != "input_ids"
    ]
    if needed:
        raise UserError(
            f"{type(model).__name__} runs only with {', '.join(needed)} beside a text: save its text decoder by "
            "itself and give that"
        )
    config = model.config.get_text_config()
    # Gemma has a word of its own for it; "vision" is said of images alone.
    gemma = getattr(config, "use_bidirectional_attention", None)
    if getattr(config, "is_causal", True) is False or gemma in (True, "all"):
        raise UserError(
            f"the tokens of {type(model).__name__} ({model.config.model_type}) see those behind them, in both "
            "directions, so it completes no text from left to right: give a causal language model"
        )
