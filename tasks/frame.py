"""What stands around the text of every prompt: the begin-of-sequence token, or one turn of a chat.

In a chat (`user_turn`) demonstrations and query are the text of one user turn, written by the tokenizer's own
chat template with its generation prompt, and the answer is the first thing the assistant says. The template is
asked for nothing special: system text that it adds, and a thinking block that it opens or leaves open, stand as
it writes them. Zero-shot prompts have the tokens of `apply_chat_template`, begin-of-sequence included or not.
Spaces with which the head of the turn ends belong to the text behind it, whose words they mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from ..errors import UserError, shown
from .encoding import TokenIds, begin_of_sequence, encode, shown_text
from .task import END_OF_SEQUENCE, ChatTemplate, Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEXT, _ANSWER = "what the user says", "what the assistant says"
_MARGIN = ("\n ", " \n")
_LEAVE_OUT = "leave out the chat template (chat_template='off')"


@dataclass(frozen=True)
class Frame:
    """What stands around the text of every prompt.

    Attributes:
        ids: The tokens in front of everything: begin-of-sequence (if any), or the head of the user turn.
        bos_length: How many of them are the begin-of-sequence token: 0 or 1.
        chat_template: Whether there is a turn.
        head: What the template writes before the user's text; empty without a turn.
        tail: What it writes behind it, up to where the assistant speaks; empty without a turn.
        label_prefix: White space with which an assistant's text begins; None is the task template's.
        strips: Whether white space in front of the user's text, and behind it, is left out.
        control: The special tokens of head and tail, which no text may hold.
    """

    ids: TokenIds
    bos_length: int
    chat_template: ChatTemplate = "off"
    head: str = ""
    tail: str = ""
    label_prefix: str | None = None
    strips: tuple[bool, bool] = (False, False)
    control: tuple[str, ...] = ()

    @property
    def is_turn(self) -> bool:
        """Whether texts stand in a turn of a chat."""
        return self.chat_template != "off"

    def shown(self, text: str) -> str:
        """The text of a demonstration behind the head, up to where its label stands."""
        return self.head + (text.lstrip() if self.strips[0] else text)

    def asked(self, text: str) -> str:
        """The text of a query as a whole prompt, up to where the answer stands."""
        return self.shown(text.rstrip() if self.strips[1] else text) + self.tail

    def own(self, prompt: str) -> str:
        """What the tokens behind the head's stand for."""
        return prompt[len(self.head.rstrip(" ")) :]

    def answer(self, template: Template, label: int) -> str:
        """What follows a query for `label`."""
        text = template.label_text(label)
        return text if self.label_prefix is None else self.label_prefix + text[len(template.label_prefix) :]

    def separator(self, template: Template) -> str:
        """What follows each demonstration.

        An end-of-sequence token would end the user turn, so a blank line stands in its place unless the user
        chose it.
        """
        ends_turn = self.is_turn and template.separator == END_OF_SEQUENCE and not template.separator_given
        return "\n\n" if ends_turn else template.separator

    def behind_head(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], ids: Sequence[TokenIds]
    ) -> list[TokenIds]:
        """The tokens behind the head, of texts that begin with it.

        Raises:
            UserError: If the tokenizer merges the head's last token with a text.
        """
        if not self.head:
            return list(ids)
        length = len(self.ids)
        for text, own in zip(texts, ids, strict=True):
            if own[:length] != self.ids:
                raise UserError(
                    f"The tokenizer merges the head of the user turn with the text behind it "
                    f"({shown_text(text[len(self.head) :], start=True)}): begin the template with a word."
                )
        return [own[length:] for own in ids]


def frame_of(tokenizer: PreTrainedTokenizerBase, template: Template, text: str = "") -> Frame:
    """What stands around the texts of a template.

    Args:
        tokenizer: The model's own.
        template: It says whether the texts stand in a turn of a chat.
        text: One of the texts, to see what the tokenizer puts in front of it.

    Raises:
        UserError: If there is no such setting, the tokenizer has no chat template, or its template does not
            write a user's text as it is.
    """
    if template.chat_template not in get_args(ChatTemplate):
        known = ", ".join(get_args(ChatTemplate))
        raise UserError(
            f"There is no chat template setting {shown(template.chat_template)}: choose from {known}."
        )
    bos = begin_of_sequence(tokenizer, text)
    return _user_turn(tokenizer, bos) if template.chat_template == "user_turn" else Frame(bos, len(bos))


def check_turns(tokenizer: PreTrainedTokenizerBase, frame: Frame, prompts: Sequence[str]) -> None:
    """Refuse prompts that are not what the chat template makes of their text.

    Args:
        tokenizer: The model's own.
        frame: A turn; without one there is nothing to check.
        prompts: Whole prompts, as `Frame.asked` returns them.

    Raises:
        UserError: If a text holds a token that ends turns, or the template writes it otherwise.
    """
    if not frame.is_turn or not prompts:
        return
    texts = [prompt[len(frame.head) : len(prompt) - len(frame.tail)] for prompt in prompts]
    for text in texts:
        held = next((token for token in frame.control if token in text), None)
        if held is not None:
            raise UserError(
                f"A text holds {shown(held)}, which the chat template itself writes around turns: take it out of the "
                f"data or the template, or {_LEAVE_OUT}."
            )
    for prompt, text, written in zip(prompts, texts, _render(tokenizer, texts), strict=True):
        if written != prompt:
            raise UserError(
                f"The chat template of this tokenizer does not write {shown_text(text)} as it is: change the "
                f"text, or {_LEAVE_OUT}."
            )


def _user_turn(tokenizer: PreTrainedTokenizerBase, bos: TokenIds) -> Frame:
    if not tokenizer.chat_template:
        raise UserError(
            "The tokenizer of this model has no chat template: take a model that has been tuned to chat, or "
            f"{_LEAVE_OUT}."
        )
    plain, spaced = _render(tokenizer, [_TEXT, _MARGIN[0] + _TEXT + _MARGIN[1]])
    head, found, tail = plain.partition(_TEXT)
    before, _, behind = spaced.partition(_TEXT)
    if not found or _TEXT in tail:
        raise UserError(
            f"The chat template of this tokenizer does not write a user's text once: {_LEAVE_OUT}."
        )
    ids = encode(tokenizer, [head.rstrip(" ")])[0]
    return Frame(
        ids=ids,
        bos_length=int(bool(bos) and ids[:1] == bos),
        chat_template="user_turn",
        head=head,
        tail=tail,
        label_prefix=_answer_prefix(tokenizer, plain),
        strips=(before == head, behind == tail),
        control=_special_tokens(tokenizer, head + tail),
    )


def _answer_prefix(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """The white space that the template writes between its generation prompt and what the assistant says."""
    chat = [{"role": "user", "content": _TEXT}, {"role": "assistant", "content": _ANSWER}]
    whole = _apply(tokenizer, [chat], add_generation_prompt=False)[0]
    between, found, _ = whole.removeprefix(prompt).partition(_ANSWER)
    # Something else there, as an empty thinking block, is no part of the generation prompt.
    return between if whole.startswith(prompt) and found and not between.strip() else ""


def _special_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[str, ...]:
    special = {
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special and token.content.strip()
    }
    return tuple(sorted(token for token in special if token in text))


def _render(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[str]:
    """Each text as a user turn with the generation prompt behind it."""
    chats = [[{"role": "user", "content": text}] for text in texts]
    return _apply(tokenizer, chats, add_generation_prompt=True)


def _apply(tokenizer: PreTrainedTokenizerBase, chats: Any, *, add_generation_prompt: bool) -> list[str]:
    try:
        written: Any = tokenizer.apply_chat_template(
            chats, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    # A chat template is a program of its own, which may raise anything.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"The chat template of this tokenizer cannot write a user turn ({reason}): {_LEAVE_OUT}."
        ) from error
    return list(written)
