"""Whatever a token holds, a figure writes it so that it can be read."""

from __future__ import annotations

import warnings

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iclprobe.reports import style
from iclprobe.reports.token_text import LONGEST_TOKEN, font_draws, joined, printable, text_points


@pytest.mark.parametrize(
    ("token", "written"),
    [
        ("word", "word"),
        (" word", "␣word"),
        ("  two", "␣␣two"),
        ("word ", "word␣"),
        (" ", "␣"),
        ("        ", "␣×8"),
        ("\n", "⏎"),
        ("\n\n", "⏎⏎"),
        ("\n" * 5, "⏎×5"),
        (" \n ", "␣⏎␣"),
        ("\t", "⇥"),
        ("", "∅"),
        ("a b", "a b"),
        ("\r", "\\r"),
        ("\x00", "\\x00"),
        ("\u00a0", "\\xa0"),
        ("\u200b", "\\u200b"),
        (" 中", "␣\\u4e2d"),
        ("\u0301x", "\\u0301x"),
        ("e\u0301", "e\u0301"),
        ("$x$", "$x$"),
        ("<|im_start|>", "<|im_start|>"),
        ("\ufffd", "\ufffd"),
    ],
)
def test_a_token_is_written_so_that_every_character_is_seen(token: str, written: str) -> None:
    assert printable(token, font_draws) == written


def test_signs_that_a_font_lacks_are_written_in_ascii() -> None:
    assert [printable(token, str.isascii) for token in (" a", "\n", "\t\t", "", "é")] == [
        *("_a", "\\n", "\\t\\t", "''", "\\xe9"),
    ]


def test_long_tokens_lose_their_middle_and_runs_show_their_ends() -> None:
    assert printable("abcdefghij", font_draws, 5) == "ab…ij"
    assert printable("abcdefghij", font_draws, 10) == "abcdefghij"
    assert len(printable("x" * 500, font_draws)) == LONGEST_TOKEN
    assert joined([" one", " two", " three"], font_draws) == "␣one…␣three"
    assert joined([" one"], font_draws) == "␣one"
    assert len(joined(["x" * 50, "y" * 50], font_draws)) <= LONGEST_TOKEN


@given(st.text(max_size=30))
def test_what_is_written_prints_in_the_font_and_is_short(token: str) -> None:
    written = printable(token, font_draws)
    assert 0 < len(written) <= LONGEST_TOKEN
    assert written.isprintable() and all(font_draws(character) for character in written)
    assert printable(written, font_draws) == written


@pytest.mark.parametrize("token", ["$x^2$", "中文\u0600", "\U0001f9ff", "\\frac", "_{", "\ud800"])
def test_no_token_is_a_formula_or_makes_a_figure_warn(token: str) -> None:
    with style.figure_style():
        figure = style.paper_figure(3.3, 2)
        axes = figure.subplots()
        axes.set_xticks([0.5], [printable(token, font_draws)], parse_math=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("png", "svg", "pdf"):
            assert style.picture_bytes(figure, kind)


def test_the_length_of_a_text_is_what_is_drawn() -> None:
    with style.figure_style():
        figure = style.paper_figure(6.9, 2)
        texts = [
            figure.text(0, 0, text, fontsize=6, parse_math=False) for text in ("␣demonstrations", "Wi.l", "$")
        ]
    for text in texts:
        drawn = text.get_window_extent().width * 72 / figure.dpi
        assert text_points(text.get_text(), 6) == pytest.approx(drawn, abs=1.0)


def test_the_font_is_the_one_that_is_set() -> None:
    assert not font_draws("中") and font_draws("😀")
    with matplotlib.rc_context({"font.family": "STIXGeneral"}):
        assert font_draws("a") and not font_draws("😀")
