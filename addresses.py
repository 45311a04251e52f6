"""Addresses without their secrets: what stands in messages, tables and files in place of what a user typed."""

from __future__ import annotations

import re

_ADDRESS = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)"
    # A user and a password; or a password that has a slash in it, or whose end was cut off.
    r"(?:[^\s/?#]*@|[^\s/?#@:\[]*:(?!\d*(?:[/?#\s'\"]|$))(?:\S*@|\S*))?"
    r"(?P<place>[^\s?#'\"]*)"
    # Signatures and tokens.
    r"(?:[?#][^\s'\"]*)?",
    re.IGNORECASE,
)
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}")


def public(text: str) -> str:
    """Return a text whose addresses hold no user, password, query or fragment; nor is there a token of the hub.

    Args:
        text: An address, or a sentence with some in it.
    """
    shown = _ADDRESS.sub(lambda found: found["scheme"] + found["place"], text) if "://" in text else text
    return _HUB_TOKEN.sub("hf_…", shown)
