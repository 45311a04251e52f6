"""What a model is given, as token ids: prompts of one setting, and the sequences it is finetuned on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import SupportsInt

from ..errors import UserError
from .spans import BEGIN, CONTEXT, QUERY, Span, check_spans, spans_in_a_row
from .task import ChatTemplate

TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class PromptSet:
    """N queries behind one shared prefix.

    Attributes:
        prefix_ids: Begin-of-sequence (if any), or the head of a chat's user turn, and demonstrations; shared by
            all queries; may be empty.
        query_ids: `[N]` the queries, each with at least one token.
        label_ids: `[N][C]` the tokens of every label option after each query, each with at least one token;
            empty when the prompts carry no labels.
        gold: `[N]` the right option of each query; empty when the prompts carry no labels.
        bos_length: How many leading tokens of the prefix are the begin-of-sequence token: 0 or 1.
        prefix_spans: What the runs of tokens of the prefix are; by default its begin and its context.
        query_spans: `[N]` what those of each query are, counted from the query's first token; by default all of
            it is the query.
    """

    prefix_ids: TokenIds
    query_ids: tuple[TokenIds, ...]
    label_ids: tuple[tuple[TokenIds, ...], ...] = ()
    gold: tuple[int, ...] = ()
    bos_length: int = 0
    prefix_spans: tuple[Span, ...] = ()
    query_spans: tuple[tuple[Span, ...], ...] = ()

    def __post_init__(self) -> None:
        """Refuse prompts without tokens and labels that do not belong to the queries."""
        freeze = object.__setattr__
        freeze(self, "prefix_ids", _ids(self.prefix_ids))
        freeze(self, "query_ids", tuple(_ids(ids) for ids in self.query_ids))
        freeze(self, "label_ids", tuple(tuple(_ids(ids) for ids in options) for options in self.label_ids))
        freeze(self, "gold", _ids(self.gold))
        if not self.query_ids:
            raise UserError("A prompt set needs at least one query, and none was given.")
        for index, ids in enumerate(self.query_ids):
            if not ids:
                raise UserError(f"Query {index} has no tokens: every query needs at least one.")
        if self.bos_length not in (0, 1) or self.bos_length > len(self.prefix_ids):
            raise UserError(
                f"bos_length is {self.bos_length} and the prefix has {len(self.prefix_ids)} tokens: it is 1 "
                "when the prefix starts with a begin-of-sequence token and 0 otherwise."
            )
        self._check_labels()
        check_spans(self.prefix_spans, len(self.prefix_ids), "the prefix")
        if self.query_spans and len(self.query_spans) != self.n:
            raise UserError(
                f"{self.n} queries have spans for {len(self.query_spans)} of them: give all or none."
            )
        for index, spans in enumerate(self.query_spans):
            check_spans(spans, len(self.query_ids[index]), f"query {index}")

    def _check_labels(self) -> None:
        if not self.label_ids and not self.gold:
            return
        if not len(self.label_ids) == len(self.gold) == self.n:
            raise UserError(
                f"{self.n} queries have label tokens for {len(self.label_ids)} and right options for "
                f"{len(self.gold)} of them: give both for every query, or neither."
            )
        for index, (options, gold) in enumerate(zip(self.label_ids, self.gold, strict=True)):
            if len(options) != self.n_options:
                raise UserError(
                    f"Query {index} has {len(options)} label options and query 0 has {self.n_options}: "
                    "every query needs the same ones."
                )
            if not all(options):
                raise UserError(f"Query {index} has a label option without tokens: every option needs one.")
            if not 0 <= gold < self.n_options:
                raise UserError(f"Query {index} has the right option {gold} of {self.n_options} options.")

    @property
    def n(self) -> int:
        """Number of queries, N."""
        return len(self.query_ids)

    @property
    def n_options(self) -> int:
        """Number of label options, C; 0 when the prompts carry no labels."""
        return len(self.label_ids[0]) if self.label_ids else 0

    @property
    def longest(self) -> int:
        """Tokens of the prefix with the longest query and its longest label option."""
        label_lengths = [max(map(len, options)) for options in self.label_ids] or [0] * self.n
        return len(self.prefix_ids) + max(
            len(ids) + length for ids, length in zip(self.query_ids, label_lengths, strict=True)
        )

    def full_ids(self, index: int) -> TokenIds:
        """The whole prompt of one query: prefix, then query."""
        return self.prefix_ids + self.query_ids[index]

    def spans(self, index: int) -> tuple[Span, ...]:
        """What the runs of tokens of one whole prompt are."""
        bos, length, query = self.bos_length, len(self.prefix_ids), len(self.query_ids[index])
        prefix = self.prefix_spans or spans_in_a_row(
            ((BEGIN, bos, None, None), (CONTEXT, length - bos, None, None))
        )
        own = self.query_spans[index] if self.query_spans else (Span(QUERY, 0, query),)
        return (*prefix, *(span.moved(length) for span in own))

    def select(self, indices: Iterable[SupportsInt]) -> PromptSet:
        """Return these queries behind the same prefix, in the order given."""
        chosen = [int(index) for index in indices]
        return replace(
            self,
            **{
                name: tuple(array[index] for index in chosen) if array else array
                for name, array in (
                    ("query_ids", self.query_ids),
                    ("label_ids", self.label_ids),
                    ("gold", self.gold),
                    ("query_spans", self.query_spans),
                )
            },
        )

    def without_labels(self) -> PromptSet:
        """Return the same prompts without label words."""
        return replace(self, label_ids=(), gold=())

    def digest(self) -> str:
        """SHA-256 (hex) of all token ids and of how they are divided."""
        content = [self.bos_length, self.prefix_ids, self.query_ids, self.label_ids]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class TrainingSequence:
    """One demonstration to finetune on: begin-of-sequence (if any), input, label; no separator.

    Behind a chat template the input is a whole user turn and the label what the assistant says.

    Attributes:
        ids: All tokens.
        label_start: Where the label begins; its tokens are `ids[label_start:]`.
        options: The tokens of every label option after this input; empty where they are not known.
    """

    ids: TokenIds
    label_start: int
    options: tuple[TokenIds, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a sequence without an input or without a label."""
        object.__setattr__(self, "ids", _ids(self.ids))
        if not 0 < self.label_start < len(self.ids):
            raise UserError(
                f"A training sequence of {len(self.ids)} tokens cannot have its label start at "
                f"{self.label_start}: it needs at least one token of input and one of label."
            )
        object.__setattr__(self, "options", tuple(_ids(option) for option in self.options))
        if self.options and self.ids[self.label_start :] not in self.options:
            raise UserError(
                f"A training sequence ends in {self.ids[self.label_start :]}, which is none of its label "
                f"options {self.options}."
            )


@dataclass(frozen=True)
class Demonstration:
    """One demonstration as it stands in the context.

    Attributes:
        input_ids: Its text.
        label_ids: Its label.
        separator_ids: What follows it.
        label: Its label option, counted from 0.
    """

    input_ids: TokenIds
    label_ids: TokenIds
    separator_ids: TokenIds
    label: int

    @property
    def ids(self) -> TokenIds:
        """All of it."""
        return self.input_ids + self.label_ids + self.separator_ids


@dataclass(frozen=True)
class TaskPrompts:
    """A task as one tokenizer sees it, in all settings.

    Attributes:
        zero_shot: Begin-of-sequence, or the head of the user turn, and the queries; also what the finetuned model
            is given.
        icl: The same queries behind the demonstrations.
        training: The demonstrations to finetune on, in the order in which they are shown.
        demonstrations_used: How many demonstrations the in-context prompt holds.
        demonstrations_asked: How many were given.
        query_indices: Index of each kept query in the given list.
        queries_skipped: How many queries are too long on their own.
        separator_unknown: Whether the separator contains the tokenizer's unknown token.
        shown: The demonstrations that the in-context prompt holds, in order.
        tail_ids: With which every query ends: the end of the user turn and the head of the assistant's; empty
            without a chat template.
        chat_template: Whether the prompts are a chat's user turn.
        separator: What follows each demonstration, as text.
        notes: Sentences about what the tokenizer does not show of the template.
    """

    zero_shot: PromptSet
    icl: PromptSet
    training: tuple[TrainingSequence, ...]
    demonstrations_used: int
    demonstrations_asked: int
    query_indices: tuple[int, ...]
    queries_skipped: int
    separator_unknown: bool
    shown: tuple[Demonstration, ...] = ()
    tail_ids: TokenIds = ()
    chat_template: ChatTemplate = "off"
    separator: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the settings differ in the demonstrations and in nothing else."""
        zero_shot, icl = self.zero_shot, self.icl
        if (zero_shot.query_ids, zero_shot.label_ids, zero_shot.gold) != (
            icl.query_ids,
            icl.label_ids,
            icl.gold,
        ):
            raise UserError("The zero-shot and the in-context prompts have different queries or labels.")
        front = zero_shot.prefix_ids
        if front != icl.prefix_ids[: len(front)] or zero_shot.bos_length != icl.bos_length:
            raise UserError("The zero-shot and the in-context prompts begin differently.")
        if len(self.query_indices) != zero_shot.n:
            raise UserError(f"{zero_shot.n} queries have {len(self.query_indices)} indices.")
        if not 0 <= self.demonstrations_used <= self.demonstrations_asked:
            raise UserError(
                f"{self.demonstrations_used} of {self.demonstrations_asked} demonstrations cannot be in use."
            )


def _ids(ids: Iterable[int]) -> TokenIds:
    return tuple(int(token) for token in ids)
