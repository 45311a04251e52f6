"""Which tokens of an in-context prompt belong to which part, for one query: begin, demonstrations, labels, query."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...tasks.spans import BEGIN, DEMONSTRATION_INPUT, DEMONSTRATION_LABEL, QUERY, SEPARATOR, Span

WHOLE = ("begin", "inputs", "labels", "separators", "query", "rest")
"""Parts that hold every token once. Begin is the begin-of-sequence token, or the first token where there is none,
since attention that goes nowhere else goes there; the rest is the frame of a chat's turn, or a context without
demonstrations."""
SPLIT = (
    *("right inputs", "other inputs", "right labels", "other labels"),
    *("predicted labels", "labels not predicted"),
)
"""Demonstrations whose label is the query's right one, and others; the same for the predicted one."""
PARTS = (*WHOLE, *SPLIT)
_NAMES = {
    BEGIN: "begin",
    DEMONSTRATION_INPUT: "inputs",
    DEMONSTRATION_LABEL: "labels",
    SEPARATOR: "separators",
    QUERY: "query",
}


def part_members(spans: Sequence[Span], width: int, gold: int, predicted: int) -> Tensor:
    """Return which tokens each of `PARTS` holds, ``[parts, width]`` booleans.

    Args:
        spans: What the runs of tokens of the whole prompt are.
        width: How many columns there are, padding included.
        gold: The query's right label option.
        predicted: The option that the model answers.
    """
    members = torch.zeros(len(PARTS), width, dtype=torch.bool)
    for span in spans:
        for part in _parts_of(span, gold, predicted):
            members[PARTS.index(part), span.start : span.stop] = True
    members[:, 0] = False
    members[PARTS.index("begin"), 0] = True
    return members


def _parts_of(span: Span, gold: int, predicted: int) -> list[str]:
    part = _NAMES.get(span.name, "rest")
    if part not in ("inputs", "labels"):
        return [part]
    found = [part, f"{'right' if span.label == gold else 'other'} {part}"]
    if part == "labels":
        found.append("predicted labels" if span.label == predicted else "labels not predicted")
    return found
