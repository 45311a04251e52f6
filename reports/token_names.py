"""Tokens as they can be read on an axis: spaces, line ends and characters that no font has are spelled out."""

from __future__ import annotations

from functools import cache

_SIGNS = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}
_LONGEST = 14


def token_name(text: str) -> str:
    """Return a token as an axis shows it: never empty, never blank, on one line, of at most 14 characters.

    A space in front of a word is left out, as most words have one; what consists of spaces is spelled out.

    Args:
        text: What the token says.
    """
    if not text:
        return "(empty)"
    word = text[1:] if text[0] == " " and text.strip() else text
    shown = "".join(_SIGNS.get(character) or _readable(character) for character in word)
    shown = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
    # Matplotlib takes what stands between two of them for a formula.
    return shown.replace("$", r"\$")


def _readable(character: str) -> str:
    if character.isprintable() and _in_font(character):
        return character
    return f"U+{ord(character):04X}"


@cache
def _in_font(character: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return ord(character) in get_font(findfont(FontProperties())).get_charmap()
