"""From records to token-exact prompts.

A query is tokenised once and its tokens stand unchanged behind the demonstrations, so that the query columns
of all settings match by construction (definitions R5). A SentencePiece tokenizer therefore marks the start of
a word at the front of every demonstration and of the query, as it does at the front of any text.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import UserError, shown
from .encoding import TokenIds
from .frame import Frame, frame_of
from .label_words import check_label_words
from .lost_text import lost_text
from .pieces import Question, demonstrations_of, questions_of, tail_of
from .prompt_set import Demonstration, PromptSet, TaskPrompts, TrainingSequence
from .spans import (
    BEGIN,
    DEMONSTRATION_INPUT,
    DEMONSTRATION_LABEL,
    QUERY,
    SEPARATOR,
    TURN_HEAD,
    TURN_TAIL,
    Span,
    spans_in_a_row,
)
from .task import Record, Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "PromptSet",
    "TaskPrompts",
    "TrainingSequence",
    "build_prompts",
    "shown_demonstrations",
    "training_sequences",
]


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
    if not queries:
        raise UserError("There is no query to ask: give at least one record.")
    frame = frame_of(tokenizer, template, template.render(queries[0]))
    asked = questions_of(tokenizer, template, frame, queries, "Query")
    check_label_words([each.options for each in asked], label_words=template.label_words)
    kept = _fitting(frame, asked, context_length)
    trained = questions_of(tokenizer, template, frame, demonstrations, "Demonstration")
    shown = demonstrations_of(tokenizer, template, frame, demonstrations, trained, asked[0])
    _check_begin(tokenizer, frame, [each.ids for each in (*asked, *trained)], template)
    longest_query = frame.bos_length + max(asked[index].length for index in kept)
    used = _fitting_demonstrations(frame, shown, longest_query, context_length)
    if shown and not used:
        raise UserError(
            f"No demonstration fits: the first has {len(shown[0].ids)} tokens, the longest query "
            f"{longest_query}, and the context of the model holds {context_length}; leave out long records "
            "with --max-record-tokens N."
        )
    if strict_shots and used < len(shown):
        raise UserError(
            f"Only {used} of {len(shown)} demonstrations fit the context of {context_length} tokens (the "
            f"longest query takes {longest_query}): ask for fewer, leave out long records with "
            "--max-record-tokens N, or allow fewer than asked."
        )
    tail = tail_of(tokenizer, frame, asked[kept[0]])
    queries_kept = tuple(asked[index].ids for index in kept)
    zero_shot = PromptSet(
        prefix_ids=frame.ids,
        query_ids=queries_kept,
        label_ids=tuple(asked[index].options for index in kept),
        gold=tuple(asked[index].gold for index in kept),
        bos_length=frame.bos_length,
        prefix_spans=context_spans(frame, ()),
        query_spans=tuple(_query_spans(ids, tail) for ids in queries_kept),
    )
    prefix = sum((each.ids for each in shown[:used]), frame.ids)
    lost = lost_text(tokenizer, template, frame.separator(template), shown)
    for sentence in lost.warnings:
        warnings.warn(sentence, UserWarning, stacklevel=2)
    return TaskPrompts(
        zero_shot=zero_shot,
        icl=replace(zero_shot, prefix_ids=prefix, prefix_spans=context_spans(frame, shown[:used])),
        training=_training(frame, trained[:used] if match_demonstrations else trained, context_length),
        demonstrations_used=used,
        demonstrations_asked=len(shown),
        query_indices=tuple(kept),
        queries_skipped=len(asked) - len(kept),
        separator_unknown=lost.separator_unknown,
        shown=tuple(shown[:used]),
        tail_ids=tail,
        chat_template=frame.chat_template,
        separator=frame.separator(template),
        notes=lost.notes,
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
    frame = frame_of(tokenizer, template, template.render(records[0]))
    asked = questions_of(tokenizer, template, frame, records, "Record")
    limit = context_length if context_length is not None else float("inf")
    fitting = [
        each for each in asked if len(frame.ids) + len(each.ids) + len(each.options[each.gold]) <= limit
    ]
    if not fitting:
        raise UserError(
            f"None of {len(records)} training records fits the context of {context_length} tokens: use a model "
            "with a longer context, or records that are shorter."
        )
    return _training(frame, fitting, context_length)


def shown_demonstrations(
    tokenizer: PreTrainedTokenizerBase, template: Template, records: Sequence[Record]
) -> tuple[Demonstration, ...]:
    """Tokenise records as they stand in a context, whatever the length of it.

    Args:
        tokenizer: The model's own.
        template: How records become text.
        records: In the order in which they are shown.

    Raises:
        UserError: When the tokenizer merges a label with the text before it, or loses the separator.
    """
    frame = frame_of(tokenizer, template, template.render(records[0]))
    asked = questions_of(tokenizer, template, frame, records, "Demonstration")
    shown = demonstrations_of(tokenizer, template, frame, records, asked)
    lost_text(tokenizer, template, frame.separator(template), shown)
    return tuple(shown)


def context_spans(frame: Frame, shown: Sequence[Demonstration]) -> tuple[Span, ...]:
    """What stands in front of a query: what stands in front of every prompt, and demonstrations.

    Args:
        frame: What stands around the text.
        shown: The demonstrations, in order.
    """
    bos = frame.bos_length
    pieces: list[tuple[str, int, int | None, int | None]] = [
        (BEGIN, bos, None, None),
        (TURN_HEAD, len(frame.ids) - bos, None, None),
    ]
    for number, each in enumerate(shown):
        pieces += [
            (DEMONSTRATION_INPUT, len(each.input_ids), number, each.label),
            (DEMONSTRATION_LABEL, len(each.label_ids), number, each.label),
            (SEPARATOR, len(each.separator_ids), number, each.label),
        ]
    return spans_in_a_row(pieces)


def _query_spans(ids: TokenIds, tail: TokenIds) -> tuple[Span, ...]:
    own = len(ids) - len(tail)
    return spans_in_a_row(((QUERY, own, None, None), (TURN_TAIL, len(tail), None, None)))


def _fitting(frame: Frame, asked: Sequence[Question], context_length: int | None) -> list[int]:
    """The indices of the queries that fit on their own."""
    limit = context_length if context_length is not None else float("inf")
    kept = [index for index, query in enumerate(asked) if len(frame.ids) + query.length <= limit]
    if not kept:
        shortest = len(frame.ids) + min(query.length for query in asked)
        raise UserError(
            f"None of the {len(asked)} queries fits the context of {context_length} tokens: the shortest "
            f"takes {shortest} with its label; use shorter records or a model with a longer context."
        )
    return kept


def _fitting_demonstrations(
    frame: Frame, shown: Sequence[Demonstration], longest_query: int, context_length: int | None
) -> int:
    """How many demonstrations fit, in order."""
    length = len(frame.ids)
    for used, demonstration in enumerate(shown):
        length += len(demonstration.ids)
        if context_length is not None and length + longest_query >= context_length:
            return used
    return len(shown)


def _training(
    frame: Frame, asked: Sequence[Question], context_length: int | None
) -> tuple[TrainingSequence, ...]:
    front = frame.ids
    sequences = tuple(
        TrainingSequence(front + each.ids + each.options[each.gold], len(front) + len(each.ids), each.options)
        for each in asked
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
    tokenizer: PreTrainedTokenizerBase, frame: Frame, pieces: Sequence[TokenIds], template: Template
) -> None:
    """Refuse a begin-of-sequence token that is written out where the tokenizer adds one itself."""
    bos = () if frame.is_turn else frame.ids
    if bos and any(ids[: len(bos)] == bos for ids in pieces):
        token = tokenizer.convert_ids_to_tokens(list(bos))[0]
        raise UserError(
            f"A text of the template {shown(template.query)} begins with {shown(token)}, which this tokenizer puts "
            "in "
            "front by itself: leave it out."
        )
