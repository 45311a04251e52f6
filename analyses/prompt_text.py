"""A prompt as text for a terminal: quoted whole, then token by token."""

from __future__ import annotations

import json
from collections.abc import Iterable
from textwrap import TextWrapper
from typing import TYPE_CHECKING

from ..tasks.task import END_OF_SEQUENCE

if TYPE_CHECKING:
    from .prompt import PromptPart, PromptView, WholePrompt

_WIDTH = 100


def quoted(text: str) -> str:
    """Return a text as a JSON string: line breaks, quotation marks and what has no shape are seen."""
    return "".join(
        letter if letter.isprintable() else json.dumps(letter)[1:-1]
        for letter in json.dumps(text, ensure_ascii=False)
    )


def separator_words(view: PromptView) -> str:
    """Return what stands between demonstrations, and why if the template has something else there."""
    if view.separator == END_OF_SEQUENCE:
        return "the end-of-sequence token"
    words = quoted(view.separator) if view.separator else "nothing"
    replaced = view.separator != view.template_separator
    return words + (" in place of the end-of-sequence token, which would end the turn" if replaced else "")


def prompt_manner(view: PromptView) -> str:
    """Return in one line how demonstrations and queries became prompts."""
    how = (
        "no chat template"
        if view.chat_template == "off"
        else "one user turn of the tokenizer's chat template"
    )
    return f"{how}, separator {separator_words(view)}"


def prompt_fact(view: PromptView) -> str:
    """Return in one line how demonstrations and queries became prompts, and how much of the context they take."""
    limit = "" if view.context_length is None else f" of {view.context_length:,}"
    return f"{prompt_manner(view)}, at most {view.longest:,}{limit} tokens with the label"


def prompt_text(view: PromptView) -> str:
    """Return both prompts: quoted whole, then their tokens part by part.

    Args:
        view: The prompts.
    """
    begin = "none" if view.begin is None else f"{_token(view.begin.tokens[0])} ({view.begin.ids[0]})"
    facts = [
        ("model", view.model),
        ("task", f"{view.task}, template {view.template}"),
        ("query", f"{view.query_index} of the validation records, gold label {view.gold}"),
        ("chat template", view.chat_template),
        ("begin-of-sequence", begin),
        ("separator", separator_words(view)),
        ("demonstrations", f"{view.demonstrations_used} of {view.demonstrations_asked} used"),
        ("context", _context(view)),
    ]
    names = max(len(name) for name, _ in facts)
    lines = [f"{name:<{names}}  {value}" for name, value in facts]
    lines += [f"warning: {note}" for note in view.notes]
    lines += ["", *_prompt("zero-shot", view.zero_shot), "", *_prompt("in-context", view.icl), ""]
    lines += ["label options behind the query", *_parts(view.options.values())]
    return "\n".join(lines)


def _context(view: PromptView) -> str:
    longest = f"{len(view.icl.ids)} tokens here, {view.longest:,} with the longest query and label"
    return longest + (", no limit" if view.context_length is None else f", of {view.context_length:,}")


def _prompt(name: str, prompt: WholePrompt) -> list[str]:
    return [f"{name} prompt, {len(prompt.ids)} tokens", quoted(prompt.text), *_parts(prompt.parts)]


def _parts(parts: Iterable[PromptPart]) -> list[str]:
    parts = list(parts)
    names = max(len(part.name) for part in parts)
    lines: list[str] = []
    for part in parts:
        start = f"  {part.name:<{names}}  {len(part.ids):>4}  "
        wrapper = TextWrapper(
            _WIDTH,
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += wrapper.wrap(" ".join(_token(token) for token in part.tokens))
    return lines


def _token(token: str) -> str:
    """Return a token's text, quoted where it would not be seen whole."""
    plain = token.isprintable() and token and not {" ", '"'} & set(token)
    return token if plain else quoted(token)
