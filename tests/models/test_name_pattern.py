"""A regular expression for names of parameters ends, whatever it is."""

from __future__ import annotations

import time

import pytest

from iclprobe.errors import UserError
from iclprobe.models.name_pattern import found_in

NAMES = ["transformer.h.0.attn.c_attn.weight", "a" * 200 + "!", "lm_head.weight"]


@pytest.mark.parametrize(
    ("selection", "found"),
    [("all", NAMES), ("regex:attn", NAMES[:1]), (r"^lm_|\.h\.\d+\.", [NAMES[0], NAMES[2]]), ("none", [])],
)
def test_names_are_found(selection: str, found: list[str]) -> None:
    assert found_in(selection, NAMES) == set(found)


@pytest.mark.parametrize(
    "selection",
    [
        "(unclosed",
        "(?R)",
        "a{1000000000}",
        "((a{1,100}){1,100}){1,100}",
        "(" * 500 + ")" * 500,
        "(a|a)*(a|a)*(a|a)*(b|c)(?<=d)",
    ],
)
def test_what_would_not_end_is_refused_within_seconds(selection: str) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=r"parameters .*: (take|write)"):
        found_in(selection, NAMES)
    assert time.monotonic() - start < 20
