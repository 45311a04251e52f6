"""Numbers as cells of a table."""

from __future__ import annotations


def number(value: float, form: str = ".3g") -> str:
    """Return a number as a cell; an undefined one is a dash."""
    return "–" if value != value else format(value, form)
