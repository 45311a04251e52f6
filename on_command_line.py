"""How a field of a configuration is asked for on the command line, where that is not by its own name and type."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OnCommandLine:
    """Stands in a field's annotation.

    Attributes:
        names: Names of its option beside the field's own, the first of which help shows.
        read: What makes its value of an option's text, in place of what its type says.
        example: What help shows for a value.
        argument: Whether its values also stand without an option's name.
        hidden: Whether only YAML and Python can say it.
        repeated: Whether its option may be given several times; `read` is then given all texts.
    """

    names: tuple[str, ...] = ()
    read: Callable[[Any], Any] | None = None
    example: str = ""
    argument: bool = False
    hidden: bool = False
    repeated: bool = False


def same_text(text: str) -> str:
    """Return a text as it is, for fields whose own validators read it."""
    return text


def escaped_text(text: str) -> str:
    r"""Return a text with the line breaks and tabs that were typed as ``\n`` and ``\t``; ``\\`` is a backslash."""
    characters = {"n": "\n", "t": "\t", "\\": "\\"}
    return re.sub(r"\\([nt\\])", lambda found: characters[found[1]], text)
