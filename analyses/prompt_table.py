"""What a study keeps of its prompts: one row a part, what is told of them, and what they lose."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..study.columns import Column, Table
from ..study.finding import Finding

if TYPE_CHECKING:
    from .prompt import PromptView

PROMPTS = Table(
    "prompts",
    "one part of the first query's prompt in one setting",
    (
        Column("model", "text", "the model"),
        Column("setting", "text", "zero-shot (the finetuned model is given it too), icl, or option"),
        Column(
            "part",
            "text",
            "begin-of-sequence, a demonstration, its label, a separator, the query, or a label",
        ),
        Column("text", "text", "what its tokens say"),
        Column("ids", "text", "its token ids, a JSON list"),
        Column("tokens", "text", "its tokens as the vocabulary spells them, a JSON list"),
    ),
)


def prompt_rows(views: Sequence[PromptView]) -> list[dict[str, Any]]:
    """Return the rows of `PROMPTS`."""
    return [row for view in views for row in _rows(view)]


def _rows(view: PromptView) -> Iterator[dict[str, Any]]:
    from .prompt import WholePrompt

    options = WholePrompt("", tuple(view.options.values()))
    for setting, whole in (("zero-shot", view.zero_shot), ("icl", view.icl), ("option", options)):
        for part in whole.parts:
            yield {
                "model": view.model,
                "setting": setting,
                "part": part.name,
                "text": part.text,
                "ids": json.dumps(part.ids),
                "tokens": json.dumps(part.tokens, ensure_ascii=False),
            }


def prompt_facts(views: Sequence[PromptView]) -> list[dict[str, str]]:
    """Return how demonstrations and queries became prompts, as rows of the facts; each manner once."""
    from .prompt_text import prompt_fact

    return [{"name": "prompt", "text": text} for text in dict.fromkeys(prompt_fact(view) for view in views)]


def prompt_warnings(views: Sequence[PromptView]) -> tuple[Finding, ...]:
    """Return what the tokenizer does not show of the template."""
    notes = dict.fromkeys(note for view in views for note in view.notes)
    return tuple(Finding("prompt", note, "warning") for note in notes)
