"""Names of columns: each once, and how a message lists them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import UserError, shown

MOST_COLUMNS = 10_000
"""Columns of a table."""
_LISTED = 5


def named_twice(names: Iterable[str]) -> str | None:
    """Return the first name that stands there a second time; None where each is there once."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def one_name_each(columns: Sequence[str], table: str) -> Sequence[str]:
    """Return the columns of a table, and refuse two of one name.

    Raises:
        UserError: When there are.
    """
    twice = named_twice(columns)
    if twice is not None:
        raise UserError(f"{table} has the column {shown(twice)} twice: give every column its own name.")
    return columns


def listed(names: Iterable[object], most: int = _LISTED) -> str:
    """Return the first few names for a message, and how many more there are."""
    every = [str(name) for name in names]
    few = [name if len(name) <= 20 and name.isprintable() else shown(name)[:30] for name in every[:most]]
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return f"{', '.join(few)}{more}" if every else "none"
