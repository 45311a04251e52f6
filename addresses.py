"""Addresses without their secrets: what stands in messages, tables and files in place of what a user typed."""

from __future__ import annotations

import re
from pathlib import Path

# A quotation mark in the middle of an address belongs to it; one at its end does not.
_WITHIN = r"['\"](?=[\w%=&/~+-])"
_ADDRESS = re.compile(
    # One slash is what a path makes of two. A drive has one letter.
    r"(?P<scheme>\b[a-z][a-z0-9+.-]+:/+)"
    # A user and a password; or a password that has a slash in it, or whose end was cut off.
    r"(?:[^\s/?#]*@|[^\s/?#@:\[]*:(?!\d*(?:[/?#\s'\"]|$))(?:\S*@|\S*))?"
    rf"(?P<place>(?:[^\s?#'\"]|{_WITHIN})*)"
    # Signatures and tokens.
    rf"(?:[?#](?:[^\s'\"]|{_WITHIN})*)?",
    re.IGNORECASE,
)
_HUB_TOKEN = re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{20,}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)


def public(text: str) -> str:
    """Return a text whose addresses hold no user, password, query or fragment; nor is there a token of the hub.

    Args:
        text: An address, or a sentence with some in it.
    """
    shown = _ADDRESS.sub(lambda found: found["scheme"] + found["place"], text) if ":/" in text else text
    return _HUB_TOKEN.sub("hf_…", shown)


def is_address(path: str | Path) -> bool:
    """Return whether what was given for a place on this machine is an address elsewhere, such as ``s3://bucket``."""
    first, *others = Path(path).parts or ("",)
    return bool(others) and _SCHEME.fullmatch(first) is not None
