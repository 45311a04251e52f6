"""The one exception that means: the input cannot be used, and here is what to do about it."""

from __future__ import annotations

import re
import reprlib
from pathlib import PurePath

from .addresses import public

LONGEST_VALUE = 60
"""Characters of a value that a message quotes."""
LONGEST_WORD = 100
"""Characters of a word in a message, such as a path that a library's error quotes; more loses its middle."""
_LONG_WORD = re.compile(r"\S{101,}")


class UserError(ValueError):
    """A mistake in what was asked for, told in one sentence with the offending input and the next step.

    The command line prints it without a traceback and exits with code 2. A message is one line: control characters
    in it are escaped, addresses are `public`, and a word of more than 100 characters loses its middle.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_on_one_line(_LONG_WORD.sub(_without_middle, public(message))))


def shown(value: object) -> str:
    """Return a value as messages quote it: escaped, on one line and at most 60 characters, however large it is."""
    try:
        text = repr(_end_of(public(str(value)))) if isinstance(value, PurePath) else _BRIEF.repr(value)
    except ValueError:
        # Python writes no integers of more than 4,300 digits.
        text = f"<{type(value).__name__} of thousands of digits>"
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def reason_of(error: BaseException, longest: int = 160) -> str:
    """Return what a library says of its error, on one line and no longer than fits into a sentence."""
    text = public(" ".join(str(error).split())) or type(error).__name__
    if "Repo id must" in text:
        # What huggingface_hub says of every directory that is not there.
        text = "it is neither a directory here nor a name that the hub could have"
    return text if len(text) <= longest else f"{text[:longest].rstrip()}…"


def _end_of(path: str) -> str:
    """Return a path, without its beginning where it is long: the end tells more."""
    return path if len(path) <= LONGEST_VALUE - 2 else f"…{path[3 - LONGEST_VALUE :]}"


def _without_middle(word: re.Match[str]) -> str:
    return f"{word[0][: LONGEST_WORD // 2 - 1]}…{word[0][-LONGEST_WORD // 2 :]}"


def lacks_memory(error: BaseException) -> bool:
    """Return whether what was raised says that memory ran out, on whatever device."""
    # By its name, since nothing here imports torch, which has no class of its own for a CPU.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error).lower() if isinstance(error, RuntimeError | OSError) else ""
    return any(words in said for words in ("allocate memory", "not enough memory", "out of memory"))


def _on_one_line(message: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in message)


class _Brief(reprlib.Repr):
    def repr_str(self, x: str, level: int) -> str:
        # Before it is cut: a password whose end is missing looks like a word.
        return super().repr_str(public(x), level)


def _brief() -> reprlib.Repr:
    # Few levels and few entries, so that nothing nested (a YAML bomb) is written out before it is cut.
    brief = _Brief()
    brief.maxlevel, brief.maxdict, brief.maxlist, brief.maxtuple = 2, 4, 4, 4
    brief.maxset, brief.maxfrozenset, brief.maxdeque, brief.maxarray = 4, 4, 4, 4
    brief.maxstring = brief.maxother = brief.maxlong = LONGEST_VALUE
    return brief


_BRIEF = _brief()
