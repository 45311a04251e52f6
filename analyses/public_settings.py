"""What a result keeps of what was asked: the settings, without the secrets in their addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel

from ..addresses import public

Value = TypeVar("Value")

# What stands there is sent to the model letter by letter, and no address is asked for.
_TEXTS = ("template", "separator", "label_words")


def without_secrets(value: Value) -> Value:
    """Return settings in which every address is `public`; those without any are returned as they are.

    Args:
        value: A configuration, or whatever one holds; texts of prompts are left alone in it.
    """
    made: Any = value
    if isinstance(value, str):
        shown = public(value)
        made = value if shown == value else shown
    elif isinstance(value, Mapping):
        changed = _changed(value)
        made = {**value, **changed} if changed else value
    elif isinstance(value, list | tuple):
        changed = _changed(dict(enumerate(value)))
        entries = [changed.get(place, entry) for place, entry in enumerate(value)]
        made = (entries if isinstance(value, list) else tuple(entries)) if changed else value
    elif isinstance(value, BaseModel):
        changed = _changed({name: getattr(value, name) for name in type(value).model_fields})
        made = value.model_copy(update=changed) if changed else value
    elif is_dataclass(value) and not isinstance(value, type):
        changed = _changed({field.name: getattr(value, field.name) for field in fields(value) if field.init})
        made = replace(value, **changed) if changed else value
    return made


def _changed(entries: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the entries that hold secrets, without them."""
    shown = {key: without_secrets(entry) for key, entry in entries.items() if key not in _TEXTS}
    return {key: entry for key, entry in shown.items() if entry is not entries[key]}
