"""Which token ids a model can be given."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import UserError
from .loading import LanguageModel


def require_known_tokens(model: LanguageModel, tokens: Iterable[int], what: str) -> None:
    """Refuse token ids that a model has no embedding for.

    Args:
        model: The model.
        tokens: Token ids, at least one.
        what: What holds them, such as ``a prompt``.

    Raises:
        UserError: If one is negative, or beyond the last row of the embeddings.
    """
    known = model.module.get_input_embeddings().weight.shape[0]  # type: ignore[union-attr]
    present = set(tokens)
    stranger = next((token for token in (max(present), min(present)) if not 0 <= token < known), None)
    if stranger is not None:
        raise UserError(
            f"{what} has the token {stranger} and {model.name!r} knows {known} tokens: tokenise with the model's "
            "own tokenizer, and give added tokens their rows (resize_token_embeddings)"
        )
