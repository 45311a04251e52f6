"""What a tokenizer does not show a model of a template: separators and line breaks that are folded or unknown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UserError, shown
from .encoding import encode, is_unknown, vanishes
from .prompt_set import Demonstration
from .task import Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class LostText:
    """What the model does not see of a template.

    Attributes:
        separator_unknown: Whether the separator holds the tokenizer's unknown token.
        notes: What is lost, in sentences for a table.
        warnings: The same for the user, with the next step.
    """

    separator_unknown: bool
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def lost_text(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    separator: str,
    demonstrations: Sequence[Demonstration],
) -> LostText:
    """What of the template's own text, and of what follows each demonstration, the tokenizer does not show.

    Args:
        tokenizer: The model's own.
        template: How records become text.
        separator: What follows each demonstration, as text.
        demonstrations: Those in the context.

    Raises:
        UserError: When nothing is left of a separator that the user did not choose.
    """
    unknown = any(is_unknown(tokenizer, each.separator_ids) for each in demonstrations)
    warnings, notes = [], []
    if unknown:
        notes.append("the separator between demonstrations is an unknown token to this tokenizer")
        warnings.append(
            f"The separator {shown(separator)} is (or holds) the unknown token of this tokenizer, so the "
            "model has never seen what stands between the demonstrations: choose another separator."
        )
    if any(vanishes(tokenizer, separator, each.separator_ids) for each in demonstrations):
        if not template.separator_given:
            raise UserError(
                f"The separator {shown(separator)} of the template {shown(template.name)} vanishes in this "
                "tokenizer, which "
                "folds white space, so nothing would stand between demonstrations: give another separator "
                "(--separator ' ; '), or this one to go on without."
            )
        notes.append(
            f"the separator {separator!r} vanishes in this tokenizer: nothing stands between demonstrations"
        )
        warnings.append(
            f"The separator {shown(separator)} vanishes in this tokenizer, which folds white space, so nothing "
            "stands "
            "between demonstrations: choose another separator."
        )
    lost = _line_breaks(tokenizer, template)
    if lost:
        notes.append(f"the line breaks of the template reach the model as {lost}")
        warnings.append(f"The line breaks of the template {template.name!r} reach the model as {lost}.")
    return LostText(unknown, tuple(notes), tuple(warnings))


def _line_breaks(tokenizer: PreTrainedTokenizerBase, template: Template) -> str:
    """What the line breaks and tabs of a template's own text become, where they are lost."""
    text = template.query.format(**dict.fromkeys(template.fields, "x")) + template.label_text(0)
    if not re.search(r"[^\S ]", text):
        return ""
    ids, spaces = encode(tokenizer, [text, re.sub(r"\s+", " ", text)])
    if ids == spaces:
        return "spaces"
    unknown = tokenizer.unk_token_id
    return (
        "unknown tokens" if is_unknown(tokenizer, ids) and ids.count(unknown) > spaces.count(unknown) else ""
    )
