"""Tokens as short texts that can be read in a figure, whatever they hold."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby

LONGEST_TOKEN = 18
"""Characters of a token that a figure shows."""
_WHITE = {" ": "␣", "\n": "⏎", "\t": "⇥"}
_EMPTY = "∅"
_MOST_IN_A_ROW = 3

Drawable = Callable[[str], bool]


def printable(token: str, drawable: Drawable, longest: int = LONGEST_TOKEN) -> str:
    r"""Return a token as a figure writes it.

    Spaces at either end are ``␣``, a newline ``⏎``, a tab ``⇥``, a token without characters ``∅``; what does not
    print, what the font lacks and what would stand on the character before it is written as its escape
    (``\u4e2d``). More than three of the same white space are counted (``␣×8``); long tokens lose their middle.

    Args:
        token: The token's text.
        drawable: Whether the font has a character, such as `font_draws`.
        longest: The most characters that are returned, at least 3.
    """
    if not token:
        return _EMPTY if drawable(_EMPTY) else "''"
    inner = token.strip(" ")
    before = len(token) - len(token.lstrip(" "))
    behind = len(token) - before - len(inner)
    written = [_white(" ", before, drawable)]
    for character, run in groupby(inner):
        count = len(list(run))
        if character in _WHITE and character != " ":
            written.append(_white(character, count, drawable))
        else:
            written.append(_character(character, drawable, first=not "".join(written)) * count)
    written.append(_white(" ", behind, drawable))
    return without_middle("".join(written), longest)


def joined(tokens: Sequence[str], drawable: Drawable, longest: int = LONGEST_TOKEN) -> str:
    """Return neighbouring tokens as one short text: the first and the last of them.

    Args:
        tokens: At least one.
        drawable: Whether the font has a character.
        longest: The most characters that are returned, at least 7.
    """
    if len(tokens) == 1:
        return printable(tokens[0], drawable, longest)
    half = (longest - 1) // 2
    return f"{printable(tokens[0], drawable, half)}…{printable(tokens[-1], drawable, half)}"


def legible(text: str, drawable: Drawable) -> str:
    """Return a line of text in which escapes stand for what does not print or what the font lacks.

    Args:
        text: Such as a title.
        drawable: Whether the font has a character.
    """
    return "".join(_character(character, drawable, first=not place) for place, character in enumerate(text))


def without_middle(text: str, longest: int) -> str:
    """Return a text of at most so many characters, its beginning and its end."""
    if len(text) <= longest:
        return text
    end = (longest - 1) // 2
    return f"{text[: longest - 1 - end]}…{text[len(text) - end :]}"


def font_draws(character: str) -> bool:
    """Return whether the font that figures are drawn with has a character."""
    from matplotlib.font_manager import get_font

    return get_font(_font()).get_char_index(ord(character)) != 0


def text_points(text: str, size: float) -> float:
    """Return how many points a text is long in the font that figures are drawn with, kerning left out.

    Args:
        text: One line.
        size: Font size.
    """
    return size * sum(_advance(_font(), character) for character in text)


def _font() -> str:
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont

    return findfont(FontProperties(family=rcParams["font.family"]))


@cache
def _advance(font: str, character: str) -> float:
    """Return how long a character is, in a font of one point."""
    from matplotlib.font_manager import get_font

    face = get_font(font)
    face.set_size(100, 72)
    return face.load_char(ord(character)).linearHoriAdvance / 65536 / 100


def _white(character: str, count: int, drawable: Drawable) -> str:
    """Return white space in a row as its signs, or as one sign with their number."""
    sign = _WHITE[character]
    if not drawable(sign):
        sign = "_" if character == " " else _escape(character)
    return f"{sign}×{count}" if count > _MOST_IN_A_ROW else sign * count


def _character(character: str, drawable: Drawable, *, first: bool) -> str:
    combining = unicodedata.category(character).startswith("M")
    readable = character.isprintable() and drawable(character) and not (combining and first)
    return character if readable else _escape(character)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
