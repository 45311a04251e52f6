"""Text to token ids, with every boundary decided by one tokenisation of the text as a whole.

SentencePiece splits a word differently alone and after text, and byte-pair encodings may merge across a
boundary. So a continuation is always what a longer text's tokens add to a shorter text's tokens, and it is an
error when the shorter text's tokens are not where the longer text's tokens begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from ..errors import UserError, shown
from .task import END_OF_SEQUENCE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TokenIds = tuple[int, ...]


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[TokenIds]:
    """Token ids of each text, without the special tokens that the tokenizer adds by itself."""
    if not texts:
        return []
    # verbose=False: texts longer than the context are dealt with, and counted, by the caller.
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return [tuple(ids) for ids in encoded]


def begin_of_sequence(tokenizer: PreTrainedTokenizerBase, text: str = "") -> TokenIds:
    """What the tokenizer puts in front of texts by itself: the begin-of-sequence token, or nothing.

    Found by comparing a text's tokens with and without special tokens, because tokenizers have a
    begin-of-sequence token that they do not add, or add one that is called something else. What a tokenizer
    adds at the end is left out.

    Args:
        tokenizer: The model's own.
        text: The text to look at. One that is empty, or begins with a special token that is written out,
            tells nothing: then a piece of the vocabulary serves.

    Raises:
        UserError: When it adds several tokens in front, or changes the text's own tokens.
    """
    plain = encode(tokenizer, [text])[0]
    if not plain or plain[0] in _added_ids(tokenizer):
        text, plain = _ordinary_piece(tokenizer)
    full = tuple(tokenizer(text, add_special_tokens=True, verbose=False)["input_ids"])
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            break
    else:
        raise UserError(
            f"The tokenizer changes the tokens of {shown_text(text)} when it adds special tokens: use the "
            "model's own tokenizer, or one that only adds tokens in front."
        )
    if start > 1:
        raise UserError(
            f"The tokenizer puts {start} tokens in front of every text "
            f"({_tokens(tokenizer, full[:start])}): only one begin-of-sequence token is supported."
        )
    return full[:start]


def encode_whole(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[list[TokenIds], TokenIds]:
    """Token ids of texts as whole prompts, and the begin-of-sequence token that stands in front of each.

    Texts that begin with it written out, as a rendered chat template does, get no second one. What the
    tokenizer adds at the end is left out: it would stand behind the last token of the prompt.
    """
    bos = begin_of_sequence(tokenizer, texts[0])
    encoded = encode(tokenizer, texts)
    return [ids if bos and ids[: len(bos)] == bos else bos + ids for ids in encoded], bos


def _added_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The ids of special tokens and of others that are read as a whole wherever a text holds them."""
    special = set(tokenizer.all_special_ids)
    try:
        return special | set(tokenizer.added_tokens_decoder)
    except NotImplementedError:  # The tokenizers of mistral-common, which know special tokens alone.
        return special


def _ordinary_piece(tokenizer: PreTrainedTokenizerBase) -> tuple[str, TokenIds]:
    """A text made of the first piece of the vocabulary that is no special token, and its tokens."""
    added = _added_ids(tokenizer)
    for piece in range(len(tokenizer)):
        text = "" if piece in added else str(tokenizer.decode([piece]))
        ids = encode(tokenizer, [text])[0] if text else ()
        if ids and ids[0] not in added:
            return text, ids
    raise UserError("The vocabulary of this tokenizer has no piece but special tokens: use the model's own.")


def continuations(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    text_ids: Sequence[TokenIds],
    added: Sequence[str],
) -> list[TokenIds]:
    """The tokens that `added[i]` adds to `texts[i]`: tokens(text + added) minus tokens(text).

    Raises:
        UserError: When the tokens of a text are not how those of the longer text begin, or nothing is added.
    """
    joined = encode(tokenizer, [text + more for text, more in zip(texts, added, strict=True)])
    result = []
    for text, more, ids, longer in zip(texts, added, text_ids, joined, strict=True):
        if longer[: len(ids)] != ids or len(longer) == len(ids):
            raise UserError(
                f"The tokens of {shown_text(text)} are {_tokens(tokenizer, ids[-4:])} at its end, and with "
                f"{shown(more)} after it they become {_tokens(tokenizer, longer[max(0, len(ids) - 4) :])}, so "
                f"{shown(more)} has no tokens of its own: let the template end, or the label begin, where this "
                "tokenizer splits (usually at a space that belongs to the label)."
            )
        result.append(longer[len(ids) :])
    return result


def separator_ids(
    tokenizer: PreTrainedTokenizerBase,
    separator: str,
    text: str,
    text_ids: TokenIds,
    following: tuple[str, TokenIds] = ("", ()),
) -> TokenIds:
    """The tokens of `separator` as they stand after `text`.

    `END_OF_SEQUENCE` is the tokenizer's end-of-sequence token. Literal text is what it adds to the tokens of
    `text`; where it would change those, its own tokens, because a demonstration's tokens never depend on what
    follows.

    Args:
        tokenizer: The model's own.
        separator: Literal text, or `END_OF_SEQUENCE`.
        text: What stands before it.
        text_ids: The tokens of that.
        following: A text that stands behind it, with its tokens: then the separator is what stands between the two
            (byte-level vocabularies split a blank line that text follows, and not one at the end).
    """
    if separator == END_OF_SEQUENCE:
        end = cast("int | None", tokenizer.eos_token_id)
        if end is None:
            raise UserError(
                "The template separates demonstrations by the end-of-sequence token and this tokenizer has "
                "none: give a separator, such as a newline."
            )
        return (end,)
    if not separator:
        return ()
    behind, behind_ids = following
    between, joined, alone = encode(tokenizer, [text + separator + behind, text + separator, separator])
    for ids, end in ((between, behind_ids), (joined, ())):
        stop = len(ids) - len(end)
        if ids[: len(text_ids)] == text_ids and ids[stop:] == end and stop > len(text_ids):
            return ids[len(text_ids) : stop]
    return alone


def vanishes(tokenizer: PreTrainedTokenizerBase, separator: str, ids: TokenIds) -> bool:
    """Whether nothing is left of a separator but spaces that it did not consist of.

    SentencePiece tokenizers that fold white space (`nmt_nfkc`, as XGLM's) make every run of it one space and
    drop it at the end of a text.
    """
    if not separator or separator == END_OF_SEQUENCE or is_unknown(tokenizer, ids):
        return False
    written = str(tokenizer.decode(list(ids), skip_special_tokens=False)) if ids else ""
    return not ids or (bool(separator.strip(" ")) and not written.strip(" "))


def is_unknown(tokenizer: PreTrainedTokenizerBase, ids: TokenIds) -> bool:
    """Whether the unknown token is in `ids`; one that is also the end-of-sequence token does not count."""
    unknown = tokenizer.unk_token_id
    return unknown is not None and unknown != tokenizer.eos_token_id and unknown in ids


def _tokens(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return " ".join(str(token) for token in tokenizer.convert_ids_to_tokens(list(ids))) or "nothing"


def shown_text(text: str, *, start: bool = False) -> str:
    """A text in quotation marks for a message; of a long one its end, or its start."""
    if len(text) <= 60:
        return repr(text)
    return repr(text[:60]) + "..." if start else "..." + repr(text[-60:])
