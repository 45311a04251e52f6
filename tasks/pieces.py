"""Records as the pieces of prompts: questions that end where the answer stands, demonstrations in a context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UserError
from .encoding import TokenIds, continuations, encode, separator_ids
from .frame import Frame, check_turns
from .prompt_set import Demonstration
from .task import Record, Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Question:
    """A record as a whole prompt, with every label option behind it.

    Attributes:
        prompt: Its text, with the head and the tail of a user turn if it stands in one.
        ids: The tokens behind what stands in front of every prompt.
        options: The tokens of every label option behind that.
        gold: The right option.
    """

    prompt: str
    ids: TokenIds
    options: tuple[TokenIds, ...]
    gold: int

    @property
    def length(self) -> int:
        """Tokens with the longest label option."""
        return len(self.ids) + max(map(len, self.options))


def questions_of(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    frame: Frame,
    records: Sequence[Record],
    name: str,
) -> list[Question]:
    """Records as prompts that end where the answer stands.

    Args:
        tokenizer: The model's own.
        template: How records become text.
        frame: What stands around the text.
        records: Any number of them.
        name: What a message calls one.

    Raises:
        UserError: When a text has no tokens or merges with what stands around it or behind it.
    """
    texts = [template.render(record) for record in records]
    prompts = [frame.asked(text) for text in texts]
    whole = encode(tokenizer, prompts)
    behind = frame.behind_head(tokenizer, prompts, whole)
    for index, (text, ids) in enumerate(zip(texts, behind, strict=True)):
        if not ids or (frame.is_turn and not text.strip()):
            raise UserError(f"{name} {index}, counted from 0, has no tokens: give it some text.")
    check_turns(tokenizer, frame, prompts)
    options = [
        continuations(tokenizer, prompts, whole, [frame.answer(template, label)] * len(prompts))
        for label in range(len(template.label_words))
    ]
    return [
        Question(prompt, ids, own, record.label)
        for prompt, ids, own, record in zip(prompts, behind, zip(*options, strict=True), records, strict=True)
    ]


def demonstrations_of(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    frame: Frame,
    records: Sequence[Record],
    asked: Sequence[Question],
    query: Question | None = None,
) -> list[Demonstration]:
    """Records as they stand in the context, where no turn ends before the label.

    Args:
        tokenizer: The model's own.
        template: How records become text.
        frame: What stands around the text.
        records: In the order in which they are shown.
        asked: The same records as questions.
        query: What stands behind the last of them.

    Raises:
        UserError: When the tokenizer merges a label with the text before it.
    """
    texts = [frame.shown(template.render(record)) for record in records]
    labels = [template.label_text(record.label) for record in records]
    if frame.is_turn:
        whole = encode(tokenizer, texts)
        inputs = frame.behind_head(tokenizer, texts, whole)
        answers = continuations(tokenizer, texts, whole, labels)
    else:
        whole = inputs = [each.ids for each in asked]
        answers = [each.options[each.gold] for each in asked]
    # Plain prompts are not the tokens of their text as a whole (R5), so separators need not be either.
    following = [("", ())] * len(records)
    if frame.is_turn:
        following = [(frame.own(text), ids) for text, ids in zip(texts[1:], inputs[1:], strict=True)]
        following.append(("", ()) if query is None else (frame.own(query.prompt), query.ids))
    separator = frame.separator(template)
    return [
        Demonstration(
            inputs[index],
            answers[index],
            separator_ids(
                tokenizer, separator, text + labels[index], whole[index] + answers[index], following[index]
            ),
            records[index].label,
        )
        for index, text in enumerate(texts)
    ]


def tail_of(tokenizer: PreTrainedTokenizerBase, frame: Frame, query: Question) -> TokenIds:
    """The tokens of a query that are the template's rather than the user's text."""
    if not frame.is_turn:
        return ()
    before = query.prompt.removesuffix(frame.tail)
    (ids,) = frame.behind_head(tokenizer, [before], encode(tokenizer, [before]))
    shared = next(
        (at for at, pair in enumerate(zip(ids, query.ids, strict=False)) if pair[0] != pair[1]), len(ids)
    )
    return query.ids[shared:]
