"""What a token says, spaces in front of words included."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WORD_START = "▁"
"""How SentencePiece spells the space in front of a word, which decoding a token alone drops."""


def token_texts(tokenizer: PreTrainedTokenizerBase | None, ids: Iterable[int]) -> dict[int, str]:
    """Return the text of each token by its id; of one that says nothing by itself its spelling in the vocabulary.

    Args:
        tokenizer: The model's own; without one tokens are called by their numbers.
        ids: Any number of ids; one that the tokenizer does not know is called by its number.
    """
    distinct = sorted(set(ids))
    if tokenizer is None:
        return {token: str(token) for token in distinct}
    spellings = tokenizer.convert_ids_to_tokens(distinct)
    return {
        token: _text(tokenizer, token, spelled) for token, spelled in zip(distinct, spellings, strict=True)
    }


def _text(tokenizer: PreTrainedTokenizerBase, token: int, spelled: str | None) -> str:
    if spelled is None:
        return str(token)
    if _WORD_START in spelled:
        return spelled.replace(_WORD_START, " ")
    said = str(tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False))
    # A part of a character has no text of its own.
    return said if said and "\ufffd" not in said else str(spelled)
