"""Messages: one line, short, whatever they quote."""

from __future__ import annotations

import copy
import pickle

import pytest

from iclprobe.errors import LONGEST_VALUE, UserError, shown


def test_a_message_is_one_line() -> None:
    begin, end = "templates.yaml: key 'text' has no", "write one"
    message = str(UserError(f"{begin}\n\x1b[31m{'x' * 50}: {end}"))
    assert message.isprintable()
    assert message.startswith(begin) and message.endswith(end)


def test_a_short_message_stays_as_it_is() -> None:
    assert str(UserError("«größer» als 3: nimm weniger")) == "«größer» als 3: nimm weniger"


def test_an_error_pickles_and_copies() -> None:
    error = UserError("x" * 400)
    assert str(pickle.loads(pickle.dumps(error))) == str(copy.deepcopy(error)) == str(error)


@pytest.mark.parametrize(
    "value",
    [
        "a" * 200,
        "\x1b]0;title\x07\n" * 30,
        10**5000,
        -(10**200),
        ["y" * 50] * 50,
        b"\x00" * 200,
        {1: [2] * 99},
    ],
    ids=["text", "controls", "digits", "negative", "list", "bytes", "mapping"],
)
def test_a_value_is_shown_short_and_escaped(value: object) -> None:
    assert len(shown(value)) <= LONGEST_VALUE
    assert shown(value).isprintable()


def test_a_nested_bomb_is_not_written_out() -> None:
    bomb: list[object] = ["lol"]
    for _ in range(60):
        bomb = [bomb] * 9
    assert len(shown(bomb)) <= LONGEST_VALUE


def test_a_short_value_is_shown_whole() -> None:
    assert shown("it's") == '"it\'s"'
    assert shown({"a": 1}) == "{'a': 1}"
