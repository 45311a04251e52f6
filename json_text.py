"""JSON of bounded depth and numbers, in which no key stands twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from .text_files import Unreadable

DEEPEST_JSON = 64
"""Levels of lists and objects in each other."""
LONGEST_NUMBER = 100
"""Characters of a number."""


def parse_json(
    text: str | bytes | bytearray, each_object: Callable[[dict[str, Any]], Any] | None = None
) -> Any:
    """Return the value that a JSON text holds.

    Args:
        text: The text.
        each_object: What takes the place of each object, innermost first.

    Raises:
        Unreadable: If it is no JSON, nests too deep, or holds a key twice or a number that is too long. The reason
            quotes no value.
    """
    try:
        if not isinstance(text, str):
            text = text.decode()
        _refuse_depth(text)

        def finished(pairs: list[tuple[str, Any]]) -> Any:
            values = _once_each(pairs)
            return values if each_object is None else each_object(values)

        return json.loads(text, object_pairs_hook=finished, parse_int=_whole, parse_float=_fraction)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise Unreadable(f"{error.msg} at {line}column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"byte {error.start + 1} is no UTF-8") from error
    except RecursionError as error:
        raise Unreadable("it nests too deep") from error


_OUTSIDE_TEXTS = re.compile(r'[\[\]{}]|"(?:[^"\\]|\\.)*+(?:"|$)', re.DOTALL)


def _refuse_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= DEEPEST_JSON:
        return
    depth = 0
    for found in _OUTSIDE_TEXTS.finditer(text):
        bracket = found[0]
        depth += (bracket in "[{") - (bracket in "]}")
        if depth > DEEPEST_JSON:
            raise Unreadable(
                f"it nests more than {DEEPEST_JSON} levels deep at character {found.start() + 1}"
            )


def _whole(digits: str) -> int:
    return int(_bounded(digits))


def _fraction(digits: str) -> float:
    return float(_bounded(digits))


def _bounded(digits: str) -> str:
    if len(digits) > LONGEST_NUMBER:
        raise Unreadable(f"a number has {len(digits):,} characters and at most {LONGEST_NUMBER} are read")
    return digits


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Unreadable(f"the key {key!r:.60} stands there twice")
            seen.add(key)
    return values
