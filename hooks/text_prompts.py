"""Prompts given as text or as token ids, made into the prompt set that captures run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UserError, shown
from ..models.loading import LanguageModel
from ..tasks.encoding import TokenIds, begin_of_sequence, encode_whole
from ..tasks.prompts import PromptSet
from ..tasks.spans import QUERY, Span, check_spans

Spans = Sequence[Mapping[str, str] | Sequence[Span]]
"""For each prompt its named pieces, as pieces of its text or as spans that count its tokens."""


def as_prompt_set(model: LanguageModel, prompts: Any, spans: Spans | None = None) -> PromptSet:
    """Return prompts as a `PromptSet`, texts tokenised with the model's tokenizer.

    Texts get the begin-of-sequence token that the tokenizer puts in front, unless they begin with it, and nothing
    that it would put at the end. Where all prompts start with it, it becomes the prefix, so that the columns of the
    query do not hold it.

    Args:
        model: The model.
        prompts: Texts or token ids, or a `PromptSet`, which has its own spans.
        spans: What pieces of each text, or runs of its tokens, are called. Tokens count from the first of the whole
            prompt, which may be the begin-of-sequence token.

    Raises:
        UserError: If there is no prompt, one is empty, or it is neither text nor token ids; if a piece is not in its
            text, or twice.
    """
    if isinstance(prompts, PromptSet):
        if spans is not None:
            raise UserError("a PromptSet has spans of its own (query_spans): leave out spans")
        return prompts
    if isinstance(prompts, str):
        prompts = [prompts]
    prompts = list(prompts)
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    encoded = iter(encode_whole(model.require_tokenizer(), texts)[0] if texts else ())
    ids = [next(encoded) if isinstance(prompt, str) else _token_ids(prompt) for prompt in prompts]
    if not ids:
        raise UserError("there are no prompts to run: give at least one text or list of token ids")
    empty = next((number for number, own in enumerate(ids) if not own), None)
    if empty is not None:
        raise UserError(f"prompt {empty}, counted from 0, has no tokens: give it some text")
    bos = begin_token(model)
    begins = bos is not None and all(len(prompt) > 1 and prompt[0] == bos for prompt in ids)
    prefix = ids[0][: int(begins)]
    named = () if spans is None else _named(model, prompts, ids, spans, len(prefix))
    queries = tuple(prompt[len(prefix) :] for prompt in ids)
    return PromptSet(prefix, queries, bos_length=len(prefix), query_spans=named)


def _named(
    model: LanguageModel, prompts: Sequence[Any], ids: Sequence[TokenIds], spans: Spans, front: int
) -> tuple[tuple[Span, ...], ...]:
    """Return the spans of each prompt, counted behind what stands in front of all."""
    if len(spans) != len(prompts):
        raise UserError(
            f"{len(prompts)} prompts have spans for {len(spans)}: give as many, empty where there are none"
        )
    found = []
    for number, (prompt, own, pieces) in enumerate(zip(prompts, ids, spans, strict=True)):
        if isinstance(pieces, Mapping):
            pieces = _of_text(model, prompt, own, pieces, number)
        if any(span.start < front for span in pieces):
            raise UserError(
                f"a span of prompt {number} holds the begin-of-sequence token: let it start behind it"
            )
        check_spans(pieces, len(own), f"prompt {number}")
        found.append((Span(QUERY, 0, len(own) - front), *(span.moved(-front) for span in pieces)))
    return tuple(found)


def _of_text(
    model: LanguageModel, prompt: Any, ids: TokenIds, pieces: Mapping[str, str], number: int
) -> list[Span]:
    if not isinstance(prompt, str):
        raise UserError(
            f"prompt {number} is given as token ids: give its spans as Span objects, which count tokens"
        )
    tokenizer = model.require_tokenizer()
    if not tokenizer.is_fast:
        raise UserError(
            "this tokenizer does not say where its tokens stand in a text: give spans as Span objects"
        )
    encoded = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    offsets: Any = encoded["offset_mapping"]
    added = len(ids) - len(offsets)
    found = []
    for name, piece in pieces.items():
        if not piece or prompt.count(piece) != 1:
            times = prompt.count(piece) if piece else 0
            raise UserError(
                f"the piece {shown(piece)} stands {times} times in prompt {number}: name one that stands there "
                "once, or give a Span"
            )
        start = prompt.index(piece)
        inside = [
            token for token, (begin, end) in enumerate(offsets) if begin < start + len(piece) and end > start
        ]
        if not inside:
            raise UserError(
                f"the piece {shown(piece)} of prompt {number} has no token of its own: name a longer one"
            )
        found.append(Span(name, inside[0] + added, inside[-1] + 1 + added))
    return found


def begin_token(model: LanguageModel) -> int | None:
    """Return the begin-of-sequence token of a model's prompts, or None where they begin without one.

    It is what the tokenizer puts in front of texts, whatever the configuration names: XGLM's tokenizer puts the
    end-of-sequence token there, GPT-2's and CodeGen's nothing. The configuration is asked only of a model that has
    no tokenizer.

    Raises:
        UserError: If the tokenizer puts several tokens in front.
    """
    if model.tokenizer is None:
        return model.module.config.get_text_config().bos_token_id
    front = begin_of_sequence(model.tokenizer)
    return front[0] if front else None


def _token_ids(prompt: Sequence[int]) -> TokenIds:
    try:
        return tuple(int(token) for token in prompt)
    except (TypeError, ValueError) as error:
        raise UserError(f"prompt {shown(prompt)} is neither a text nor a list of token ids") from error
