"""Positions of a plan that name parts of a prompt: which tokens they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import UserError, shown
from ..tasks.prompts import PromptSet
from ..tasks.spans import DEMONSTRATION_INPUT, DEMONSTRATION_LABEL, QUERY, SEPARATOR
from .plan import SPAN_PREFIX

_NAMES = {
    "query": (QUERY,),
    "demonstrations": (DEMONSTRATION_INPUT, DEMONSTRATION_LABEL, SEPARATOR),
    "demonstration_inputs": (DEMONSTRATION_INPUT,),
    "demonstration_labels": (DEMONSTRATION_LABEL,),
    "separators": (SEPARATOR,),
}


def named_tokens(positions: object, prompts: PromptSet) -> tuple[tuple[int, ...], ...] | None:
    """Return the tokens of each whole prompt that positions name, counted from 0; None where they name none.

    Args:
        positions: A plan's.
        prompts: The prompts.

    Raises:
        UserError: If a prompt has no token of that name.
    """
    if not isinstance(positions, str):
        return None
    if positions == "prompt":
        return tuple(tuple(range(len(prompts.full_ids(index)))) for index in range(prompts.n))
    names = _NAMES.get(positions)
    if positions.startswith(SPAN_PREFIX):
        names = (positions.removeprefix(SPAN_PREFIX),)
    if names is None:
        return None
    return tuple(_tokens(names, positions, prompts, index) for index in range(prompts.n))


def _tokens(names: tuple[str, ...], positions: str, prompts: PromptSet, index: int) -> tuple[int, ...]:
    spans = prompts.spans(index)
    found = sorted({token for span in spans if span.name in names for token in span.tokens})
    if not found:
        there = ", ".join(dict.fromkeys(span.name for span in spans))
        raise UserError(
            f"prompt {index} has no tokens at the position {shown(positions)}: its spans are {shown(there)}"
        )
    return tuple(found)


def named_rows(tokens: Sequence[tuple[int, ...]], past: int) -> tuple[Tensor, Tensor]:
    """Return the rows of a batch that hold tokens of whole prompts, and which of them exist, both ``[B, P]``.

    Args:
        tokens: The tokens of each prompt.
        past: How many tokens in front do not run, since a cache holds them.
    """
    longest = max(map(len, tokens))
    rows, existing = torch.zeros(2, len(tokens), longest, dtype=torch.long)
    for place, own in enumerate(tokens):
        rows[place, : len(own)] = torch.tensor(own) - past
        existing[place, : len(own)] = 1
    return rows, existing.bool()
