"""What the tokens of a prompt are, from its spans, as figures mark them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .attention_rows import SpanMark, SpanName

_NAMES: Mapping[str, SpanName] = {
    "begin": "begin",
    "turn_head": "turn head",
    "demonstration_input": "demonstration input",
    "demonstration_label": "demonstration label",
    "separator": "separator",
    "query": "query",
    "turn_tail": "turn tail",
}
SETTING_NAMES: Mapping[str, str] = {"zsl": "zero-shot", "icl": "ICL", "ft": "finetuned"}
"""What figures call the settings."""


def prompt_marks(parts: Sequence[str], demonstrations: Sequence[int | None]) -> tuple[SpanMark, ...]:
    """Return the runs of tokens of one part.

    Args:
        parts: For each token the name of the span that it stands in; other names than those of prompts of a task mark
            nothing.
        demonstrations: Which demonstration each belongs to, counted from 0; None for none.
    """
    marks: list[SpanMark] = []
    for place, (part, number) in enumerate(zip(parts, demonstrations, strict=True)):
        name = _NAMES.get(part, "between")
        last = marks[-1] if marks else None
        if last is not None and (last.name, last.demonstration) == (name, number):
            marks[-1] = SpanMark(name, last.start, place + 1, number)
        else:
            marks.append(SpanMark(name, place, place + 1, number))
    return tuple(marks)
