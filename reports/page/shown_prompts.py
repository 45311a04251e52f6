"""The prompts of a study as they were sent, part by part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...study.study import Study

_KINDS = (
    ("begin", "begin of sequence"),
    ("turn", "turn of a chat"),
    ("input", "demonstration"),
    ("label", "its label"),
    ("separator", "separator"),
    ("query", "query"),
)
_BEGINNINGS = {
    "begin": "begin",
    "head of": "turn",
    "end of": "turn",
    "demonstration": "input",
    "label": "label",
    "separator": "separator",
    "query": "query",
}
_HOW_IT_STANDS = ("setting", "part", "text", "ids", "tokens")


@dataclass(frozen=True)
class ShownPart:
    """A run of tokens.

    Attributes:
        name: What it is.
        kind: Which kind of part, which it is coloured by.
        text: What it says.
        tokens: Its tokens and their ids, to be read beside it.
    """

    name: str
    kind: str
    text: str
    tokens: str


@dataclass(frozen=True)
class ShownPrompt:
    """One prompt.

    Attributes:
        name: Its setting, and what else tells it apart.
        parts: In their order.
        count: How many tokens.
    """

    name: str
    parts: tuple[ShownPart, ...]
    count: int


def shown_prompts(study: Study) -> tuple[ShownPrompt, ...]:
    """Return each different prompt that a study keeps, in-context ones first.

    Args:
        study: The study.
    """
    frame = study.tables.get("prompts")
    if frame is None or not len(frame):
        return ()
    keys = [str(name) for name in frame.columns if name not in _HOW_IT_STANDS]
    varying = [key for key in keys if frame[key].nunique() > 1]
    found: dict[tuple[Any, ...], ShownPrompt] = {}
    for setting in ("icl", "zero-shot", "option"):
        of_setting = frame[frame["setting"] == setting]
        groups = of_setting.groupby(varying, sort=False, dropna=False) if varying else [((), of_setting)]
        for values, rows in groups:
            parts = tuple(_part(row) for row in rows.to_dict("records"))
            where = ", ".join(f"{key} {value}" for key, value in zip(varying, values, strict=True))
            if parts:
                name = _SETTINGS[setting] + (f" ({where})" if where else "")
                found.setdefault(
                    (setting, parts),
                    ShownPrompt(name, parts, sum(len(json.loads(ids)) for ids in rows["ids"])),
                )
    return tuple(found.values())


def kinds_of(prompts: tuple[ShownPrompt, ...]) -> tuple[tuple[str, str], ...]:
    """Return the kinds of parts that occur, and what they are called."""
    there = {part.kind for prompt in prompts for part in prompt.parts}
    return tuple((kind, name) for kind, name in _KINDS if kind in there)


_SETTINGS: Mapping[str, str] = {
    "icl": "in context",
    "zero-shot": "zero-shot, which the finetuned model is given, too",
    "option": "the labels, behind the query",
}


def _part(row: Mapping[str, Any]) -> ShownPart:
    name, setting = str(row["part"]), str(row["setting"])
    kind = next((kind for begin, kind in _BEGINNINGS.items() if name.startswith(begin)), "other")
    ids, tokens = json.loads(row["ids"]), json.loads(row["tokens"])
    told = " ".join(f"{token}·{number}" for token, number in zip(tokens, ids, strict=True))
    return ShownPart(name, "label" if setting == "option" else kind, str(row["text"]), f"{name}: {told}")
