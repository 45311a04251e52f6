"""From records to token-exact prompts.

A query is tokenised once and its tokens stand unchanged behind the demonstrations, so that the query columns
of all settings match by construction (definitions R5). A SentencePiece tokenizer therefore marks the start of
a word at the front of every demonstration and of the query, as it does at the front of any text.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UserError
from .encoding import TokenIds, begin_of_sequence, continuations, encode, is_unknown, separator_ids
from .label_words import check_label_words
from .prompt_set import PromptSet, TaskPrompts, TrainingSequence
from .task import Record, Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["PromptSet", "TaskPrompts", "TrainingSequence", "build_prompts", "training_sequences"]


@dataclass(frozen=True)
class _Demonstration:
    input_ids: TokenIds
    label_ids: TokenIds
    separator_ids: TokenIds
    options: tuple[TokenIds, ...]

    @property
    def shown_ids(self) -> TokenIds:
        return self.input_ids + self.label_ids + self.separator_ids


@dataclass(frozen=True)
class _Query:
    index: int
    ids: TokenIds
    label_ids: tuple[TokenIds, ...]
    gold: int

    @property
    def length(self) -> int:
        return len(self.ids) + max(map(len, self.label_ids))


def build_prompts(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    demonstrations: Sequence[Record],
    queries: Sequence[Record],
    context_length: int | None,
    *,
    strict_shots: bool = False,
    match_demonstrations: bool = True,
) -> TaskPrompts:
    """Turn demonstrations and queries into the prompts of all settings.

    The in-context prompt is begin-of-sequence (where the tokenizer adds one), every demonstration followed by
    its separator, then the query. Demonstrations are added in order and the first that does not fit ends it,
    as in the code behind definitions 3.2: one fits while prefix + demonstration with its separator + longest
    query with begin-of-sequence and its longest label stay *below* the context length. (That counts the
    begin-of-sequence token twice and leaves the last position free; it is kept so that the same
    demonstrations are used.)

    Args:
        tokenizer: The model's own.
        template: How records become text.
        demonstrations: In the order in which they are shown; none gives zero-shot prompts only.
        queries: The records to ask.
        context_length: Positions the model has; None for no limit.
        strict_shots: Refuse to leave out a demonstration.
        match_demonstrations: Finetune on the demonstrations that are shown. False takes all that were given,
            as the reference does (definitions D4).

    Raises:
        UserError: When no query can be used, no demonstration fits, label words collide, or the tokenizer
            merges a label with the text before it.
    """
    kept, skipped, bos = _queries(tokenizer, template, queries, context_length)
    shown = _demonstrations(tokenizer, template, demonstrations)
    _check_begin(tokenizer, bos, [query.ids for query in kept] + [each.shown_ids for each in shown], template)
    longest_query = len(bos) + max(query.length for query in kept)
    prefix, used = _prefix(bos, shown, longest_query, context_length)
    if shown and not used:
        raise UserError(
            f"No demonstration fits: the first has {len(shown[0].shown_ids)} tokens, the longest query "
            f"{longest_query}, and the context of the model holds {context_length}; leave out long records "
            "with --max-record-tokens N."
        )
    if strict_shots and used < len(shown):
        raise UserError(
            f"Only {used} of {len(shown)} demonstrations fit the context of {context_length} tokens (the "
            f"longest query takes {longest_query}): ask for fewer, leave out long records with "
            "--max-record-tokens N, or allow fewer than asked."
        )
    zero_shot = PromptSet(
        prefix_ids=bos,
        query_ids=tuple(query.ids for query in kept),
        label_ids=tuple(query.label_ids for query in kept),
        gold=tuple(query.gold for query in kept),
        bos_length=len(bos),
    )
    icl = PromptSet(prefix, zero_shot.query_ids, zero_shot.label_ids, zero_shot.gold, len(bos))
    return TaskPrompts(
        zero_shot=zero_shot,
        icl=icl,
        training=_training(bos, shown[:used] if match_demonstrations else shown, context_length),
        demonstrations_used=used,
        demonstrations_asked=len(shown),
        query_indices=tuple(query.index for query in kept),
        queries_skipped=skipped,
        separator_unknown=_warn_unknown_separator(tokenizer, template, shown),
    )


def training_sequences(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    records: Sequence[Record],
    context_length: int | None,
) -> tuple[TrainingSequence, ...]:
    """Tokenise records with their labels as they are finetuned on, each by itself.

    Args:
        tokenizer: The model's own.
        template: How records become text.
        records: In any order.
        context_length: Positions the model has; None for no limit. Longer records are left out.

    Raises:
        UserError: When no record fits.
    """
    texts = [template.render(record) for record in records]
    bos = begin_of_sequence(tokenizer, texts[0])
    shown = _demonstrations(tokenizer, template, records)
    limit = context_length if context_length is not None else float("inf")
    fitting = [each for each in shown if len(bos) + len(each.input_ids) + len(each.label_ids) <= limit]
    if not fitting:
        raise UserError(
            f"None of {len(records)} training records fits the context of {context_length} tokens: use a model "
            "with a longer context, or records that are shorter."
        )
    return _training(bos, fitting, context_length)


def _queries(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    records: Sequence[Record],
    context_length: int | None,
) -> tuple[list[_Query], int, TokenIds]:
    """The queries that fit on their own, how many do not, and the begin-of-sequence token."""
    if not records:
        raise UserError("There is no query to ask: give at least one record.")
    texts = [template.render(record) for record in records]
    ids = encode(tokenizer, texts)
    for index, query_ids in enumerate(ids):
        if not query_ids:
            raise UserError(f"Query {index} is {texts[index]!r}, which has no tokens: give it some text.")
    bos = begin_of_sequence(tokenizer, texts[0])
    label_ids = _options(tokenizer, template, texts, ids)
    check_label_words(label_ids, label_words=template.label_words)
    found = [
        _Query(index, ids[index], label_ids[index], record.label) for index, record in enumerate(records)
    ]
    limit = context_length if context_length is not None else float("inf")
    kept = [query for query in found if len(bos) + query.length <= limit]
    if not kept:
        shortest = len(bos) + min(query.length for query in found)
        raise UserError(
            f"None of the {len(found)} queries fits the context of {context_length} tokens: the shortest "
            f"takes {shortest} with its label; use shorter records or a model with a longer context."
        )
    return kept, len(found) - len(kept), bos


def _demonstrations(
    tokenizer: PreTrainedTokenizerBase, template: Template, records: Sequence[Record]
) -> list[_Demonstration]:
    texts = [template.render(record) for record in records]
    labels = [template.label_text(record.label) for record in records]
    input_ids = encode(tokenizer, texts)
    options = _options(tokenizer, template, texts, input_ids)
    own_labels = [own[record.label] for own, record in zip(options, records, strict=True)]
    return [
        _Demonstration(
            own_input,
            own_label,
            separator_ids(tokenizer, template.separator, text + label, own_input + own_label),
            own_options,
        )
        for text, label, own_input, own_label, own_options in zip(
            texts, labels, input_ids, own_labels, options, strict=True
        )
    ]


def _options(
    tokenizer: PreTrainedTokenizerBase, template: Template, texts: Sequence[str], ids: Sequence[TokenIds]
) -> list[tuple[TokenIds, ...]]:
    """The tokens of every label option behind each text."""
    columns = [
        continuations(tokenizer, texts, ids, [template.label_text(label)] * len(texts))
        for label in range(len(template.label_words))
    ]
    return list(zip(*columns, strict=True))


def _prefix(
    bos: TokenIds, shown: Sequence[_Demonstration], longest_query: int, context_length: int | None
) -> tuple[TokenIds, int]:
    """Begin-of-sequence with the demonstrations that fit, and how many those are."""
    prefix, used = bos, 0
    for demonstration in shown:
        longer = prefix + demonstration.shown_ids
        if context_length is not None and len(longer) + longest_query >= context_length:
            break
        prefix, used = longer, used + 1
    return prefix, used


def _training(
    bos: TokenIds, shown: Sequence[_Demonstration], context_length: int | None
) -> tuple[TrainingSequence, ...]:
    sequences = tuple(
        TrainingSequence(bos + each.input_ids + each.label_ids, len(bos) + len(each.input_ids), each.options)
        for each in shown
    )
    for index, sequence in enumerate(sequences):
        if context_length is not None and len(sequence.ids) > context_length:
            raise UserError(
                f"Demonstration {index} has {len(sequence.ids)} tokens and the context of the model holds "
                f"{context_length}: finetune on the demonstrations that are shown, or leave out long records "
                "with --max-record-tokens N."
            )
    return sequences


def _check_begin(
    tokenizer: PreTrainedTokenizerBase, bos: TokenIds, pieces: Sequence[TokenIds], template: Template
) -> None:
    """Refuse a begin-of-sequence token that is written out where the tokenizer adds one itself."""
    if bos and any(ids[: len(bos)] == bos for ids in pieces):
        token = tokenizer.convert_ids_to_tokens(list(bos))[0]
        raise UserError(
            f"A text of the template {template.query!r} begins with {token!r}, which this tokenizer puts in "
            "front by itself: leave it out."
        )


def _warn_unknown_separator(
    tokenizer: PreTrainedTokenizerBase, template: Template, shown: Sequence[_Demonstration]
) -> bool:
    unknown = any(is_unknown(tokenizer, each.separator_ids) for each in shown)
    if unknown:
        warnings.warn(
            f"The separator {template.separator!r} is (or holds) the unknown token of this tokenizer, so the "
            "model has never seen what stands between the demonstrations: choose another separator.",
            UserWarning,
            stacklevel=3,
        )
    return unknown
