"""Valid inputs and what can happen to them: cut, torn, repeated, deepened, numbers and characters out of place."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from iclprobe.errors import UserError
from iclprobe.text_files import Unreadable

LONGEST = 5.0
"""Seconds for one input, on a machine with other work to do as well."""
ODD = (
    "\x00",
    "\ud800",
    "\ufeff",
    "\u2028",
    "\r",
    "\n",
    "\t",
    '"',
    "'",
    "\\",
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    "- ",
    "&a ",
    "*a",
    "!!int ",
    "<<: ",
    "?",
    "#",
    "%",
    "|",
    ">",
    "null",
    "true",
    "NaN",
    "Infinity",
    "-1",
    "1e999",
    "0x1F",
    "8:16",
    "\x1b[31m",
    "{",
    "{}",
    "{0}",
    "{text!r}",
    "{text.__class__}",
    "é",
    "𝔸",
    "²",
    "9" * 5000,
    "[" * 300,
    '{"a":' * 300,
)


def rewrite(path: Path, raw: bytes) -> None:
    """Write a file in place of its old bytes: emptying it first takes ten times longer on some disks."""
    path.touch()
    with path.open("r+b") as file:
        file.write(raw)
        file.truncate()


def damaged(valid: str, seed: int) -> str:
    """Return a valid input after one to four accidents."""
    chance = random.Random(seed)
    text = valid
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(text) + 1)
        stop = min(len(text), start + chance.choice((1, 1, 2, 5, 20)))
        kind = chance.randrange(6)
        if kind == 0:
            text = text[:start] + text[stop:]
        elif kind == 1:
            text = text[:start] + chance.choice(ODD) + text[start:]
        elif kind == 2:
            text = text[:start] + chance.choice(ODD) + text[stop:]
        elif kind == 3:
            text = text[:stop] + text[start:stop] * chance.choice((1, 2, 50)) + text[stop:]
        elif kind == 4:
            text = text[:start]
        else:
            other = chance.randrange(len(text) + 1)
            text = text[:start] + text[min(other, start) : max(other, start)] + text[start:]
        text = text[:10_000]
    return text


def read_damaged(read: Callable[[str], Any], valid: Sequence[str], seed: int) -> None:
    """Read a damaged input.

    Raises:
        AssertionError: If anything but a value or a refusal in one short sentence comes of it, or it takes long.
    """
    text = damaged(valid[seed % len(valid)], seed)
    start = time.monotonic()
    try:
        read(text)
    except (UserError, Unreadable) as error:
        assert 0 < len(str(error)) <= 300, str(error)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} of {text[:300]!r}") from error
    assert time.monotonic() - start < LONGEST, f"it takes too long to read {text[:300]!r}"
