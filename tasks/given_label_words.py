"""Label words as a user gives them: in the order of the labels, or for each value of the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import UserError, shown
from .label_values import label_meaning, spelled

LabelWords = tuple[str, ...] | dict[str, str]
"""Words in label order, or the word of each value of the data."""


def read_label_words(given: str | Sequence[object] | Mapping[object, object]) -> LabelWords:
    """Label words from a list, a mapping from the data's values, or a text of either.

    Args:
        given: `["bad", "good"]`, `{1: "bad", 5: "good"}`, `"bad,good"` or `"1=bad,5=good"`. The order of a mapping
            is the order of the labels.

    Raises:
        UserError: For words that are no text, and for a value that is named twice.
    """
    if isinstance(given, str):
        parts = [part.split("=") for part in given.split(",")]
        if all(len(part) == 1 for part in parts):
            if all(":" in part[0].strip(": ") for part in parts):
                raise UserError(
                    f"The label words {shown(given)} have colons where a mapping has equals signs: write "
                    "0=bad,1=good, or "
                    "give words with colons as a list, from Python or in a --config file."
                )
            return tuple(part[0].strip() for part in parts)
        if any(len(part) != 2 for part in parts):
            raise UserError(
                f"The label words {shown(given)} are not of the form bad,good or 1=bad,5=good: give words with a "
                "comma "
                "or an equals sign in them as a list or mapping, from Python or in a --config file."
            )
        return _by_value([(value.strip(), word.strip()) for value, word in parts])
    if isinstance(given, Mapping):
        return _by_value(list(given.items()))
    if not isinstance(given, Iterable):
        raise UserError(f"Label words cannot be {shown(given)}: give a list or mapping of them.")
    return tuple(_word(word) for word in given)


def words_of_labels(words: Mapping[str, str], label_names: Sequence[str]) -> tuple[str, ...] | None:
    """The words in the order of labels that have names; None where a value is none of those labels.

    Args:
        words: The word of each label's name, or of its number counted from 0.
        label_names: In label order.

    Raises:
        UserError: When a label has no word, or two.
    """
    meanings = {value: label_meaning(value, label_names) for value in words}
    found: dict[int, str] = {}
    for value, meaning in meanings.items():
        if meaning is None:
            return None
        if meaning.index in found:
            raise UserError(
                f"The label {shown(label_names[meaning.index])} has two label words: keep one of them."
            )
        found[meaning.index] = words[value]
    missing = [repr(name) for index, name in enumerate(label_names) if index not in found]
    if missing:
        raise UserError(
            f"The label words {dict(words)} have none for {', '.join(missing)}: give every label one."
        )
    return tuple(found[index] for index in range(len(label_names)))


def _by_value(pairs: Sequence[tuple[object, object]]) -> dict[str, str]:
    words: dict[str, str] = {}
    for given, word in pairs:
        value = spelled(given)
        if not value:
            raise UserError(
                f"The label words name the value {shown(given)}, which can be no label: name texts or numbers."
            )
        if value in words:
            raise UserError(f"The label words name the value {shown(value)} twice: keep one of them.")
        words[value] = _word(word)
    return words


def _word(word: object) -> str:
    if isinstance(word, int) and not isinstance(word, bool):
        return str(word)
    if not isinstance(word, str):
        raise UserError(
            f"The label word {shown(word)} is no text: give texts, and quote yes, no, true and false in YAML."
        )
    return word
