"""Regular expressions that users give for names of parameters: compiled, and matched against a clock."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable

import regex

from ..errors import UserError, reason_of, shown

LONGEST_SEARCH = 1.0
"""Seconds after which a search in all names of a model is given up."""
_MOST_REPEATS = 1000
_COUNTS = re.compile(r"(?<=[{,])\d+(?=[,}])")


class NoPattern(ValueError):
    """Why a text is no regular expression."""


def name_pattern(selection: str) -> regex.Pattern[str]:
    """Return the regular expression of a selection of parameters, with or without ``regex:`` in front.

    Raises:
        NoPattern: If it is none.
    """
    text = "" if selection == "all" else selection.removeprefix("regex:")
    # Counted repeats are written out when they are compiled.
    if math.prod(max(int(digits[:9]), 1) for digits in _COUNTS.findall(text)) > _MOST_REPEATS:
        raise NoPattern(f"no regular expression of at most {_MOST_REPEATS:,} counted repeats")
    try:
        # Python's own engine says what is one: the other also knows recursion, which fills the memory.
        re.compile(text)
        return regex.compile(text)
    except (re.error, regex.error, RecursionError, OverflowError) as error:
        raise NoPattern(f"no regular expression ({reason_of(error, 60)})") from error


def found_in(selection: str, names: Iterable[str]) -> set[str]:
    """Return the names in which a regular expression is found.

    Python's own engine cannot be stopped, and some expressions would keep it busy for years.

    Raises:
        UserError: If it is no regular expression, or takes too long.
    """
    found: set[str] = set()
    try:
        pattern = name_pattern(selection)
        end = time.monotonic() + LONGEST_SEARCH
        for name in names:
            if pattern.search(name, timeout=max(end - time.monotonic(), 0.001)):
                found.add(name)
    except NoPattern as error:
        raise UserError(
            f"parameters {shown(selection)} are {error}: take attn_kv, attn_v@LAYER or all"
        ) from error
    except TimeoutError as error:
        raise UserError(
            f"parameters {shown(selection)} take too long to look for: write them without repeats of repeats"
        ) from error
    return found
