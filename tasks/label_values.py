"""Which label a value of the data means: one rule for every file format.

A value is compared with the label names as it is spelled: the integer 1, the number 1.0 and the texts `1`, `1.0`
and ` 1 ` are the same value, as are `true` and `True`. Where no name is spelled that way, an integer counts the
labels from 0, unless a label name is itself a number: the labels 1 to 5 are never counted. The classes of a dataset
that has names for them mean these names, whatever their numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import UserError, shown
from .column_names import listed

# Longer texts of digits are texts: nobody numbers labels with them, and matching them takes its time.
_LONGEST_NUMBER = 100
_LONGEST_LABEL = 40
_NUMBER = re.compile(r"(-?)0*([0-9]+?)(?:\.([0-9]*?)0*)?")


class NamedClass(int):
    """An integer label of a dataset that has names for its integers: it means its name, and counts nothing."""

    name: str

    def __new__(cls, number: int, name: str) -> NamedClass:
        """Keep the name beside the number."""
        value = super().__new__(cls, number)
        value.name = name
        return value

    def __reduce__(self) -> tuple[type[NamedClass], tuple[int, str]]:
        """Copy and pickle the name with the number."""
        return NamedClass, (int(self), self.name)

    def __repr__(self) -> str:
        """Show number and name."""
        return f"{int(self)} ({self.name})"


@dataclass(frozen=True)
class LabelMeaning:
    """What a value means.

    Attributes:
        index: The label, counted from 0.
        counted: Whether the value is a number that counts the labels, and no label's name.
    """

    index: int
    counted: bool


def label_index(value: object, label_names: Sequence[str], place: str) -> int:
    """The index of a label given as a name, an integer, or an integer written as text.

    Raises:
        UserError: When `value` is none of these or outside the label set; `place` says where it was read.
    """
    meaning = label_meaning(value, label_names)
    if meaning is None:
        raise UserError(f"{place} has the label {shown_label(value)}: use {label_choices(label_names)}.")
    return meaning.index


def label_meaning(value: object, label_names: Sequence[str], *, counting: bool = True) -> LabelMeaning | None:
    """What `value` means among labels of these names; None where it means none of them, or two.

    Args:
        value: As it was read.
        label_names: In label order.
        counting: Whether an integer may count the labels from 0.
    """
    spellings = spelled_names(tuple(label_names))
    number = spelled(value.name if isinstance(value, NamedClass) else value)
    if number is not None and number in spellings:
        return LabelMeaning(spellings[number], counted=False)
    if isinstance(value, NamedClass) and (alike := _named_alike(value.name, label_names)) is not None:
        return LabelMeaning(alike, counted=False)
    countable = counting and number is not None and number.isdecimal() and is_number(number)
    if number is None or not countable or any(map(is_number, spellings)):
        return None
    return LabelMeaning(int(number), counted=True) if int(number) < len(label_names) else None


def label_choices(label_names: Sequence[str]) -> str:
    """The values that mean a label, for a message."""
    names = f"one of {listed(label_names)}"
    if any(map(is_number, spelled_names(tuple(label_names)))):
        return names
    return f"0 to {len(label_names) - 1} or {names}"


@lru_cache
def spelled_names(label_names: tuple[str, ...]) -> Mapping[str, int]:
    """The index of every label name by its spelling.

    Raises:
        UserError: When two names are spelled alike, as `1` and `01` are.
    """
    spellings: dict[str, int] = {}
    for index, name in enumerate(label_names):
        earlier = spellings.setdefault(spelled(name) or "", index)
        if earlier != index:
            raise UserError(
                f"The labels {shown(label_names[earlier])} and {shown(name)} are the same value: give every label "
                "a name "
                "of its own."
            )
    return spellings


def spelled(value: object) -> str | None:
    """The one spelling of a value that several types can hold; None where it can be no label."""
    if isinstance(value, str):
        return _spelled_text(value)
    # Here, so that configurations, which hold labels as text, load without it.
    import numpy

    if isinstance(value, bool | numpy.bool_):
        return str(bool(value)).lower()
    if isinstance(value, int | numpy.integer):
        return str(int(value)) if abs(int(value)) < 10**_LONGEST_NUMBER else None
    if isinstance(value, float | numpy.floating):
        if not math.isfinite(value):
            return None
        return spelled(f"{value:f}") if float(value).is_integer() else spelled(str(value))
    return None


def _spelled_text(value: str) -> str:
    text = value.strip()
    number = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
    if number:
        sign, whole, fraction = number.groups()
        digits = f"{whole}.{fraction}" if fraction else whole
        return digits if digits == "0" else sign + digits
    return text.lower() if text.lower() in ("true", "false") else text


def is_number(spelling: str) -> bool:
    """Whether a spelling is that of a number."""
    return len(spelling) <= _LONGEST_NUMBER and _NUMBER.fullmatch(spelling) is not None


def shown_label(value: object) -> str:
    """A value of the label's column for a message: short ones as they are, of a text of any length only how long."""
    if isinstance(value, str) and len(value) > _LONGEST_LABEL:
        return f"<text of {len(value):,} characters>"
    return shown(value) if isinstance(value, str | int | float | None) else f"<{type(value).__name__}>"


def is_missing(value: Any, label_names: Sequence[str]) -> bool:
    """Whether a value says that a record has no label: nothing, or the -1 of published test files."""
    spelling = spelled(value)
    return spelling in (None, "") or (spelling == "-1" and label_meaning(value, label_names) is None)


def _named_alike(name: str, label_names: Sequence[str]) -> int | None:
    """The one label whose name begins as a class's does or the other way round, as `pos` and `positive` do."""
    own = name.strip().casefold()
    alike = [
        index
        for index, label in enumerate(label_names)
        if own and (label.casefold().startswith(own) or own.startswith(label.casefold()))
    ]
    return alike[0] if len(alike) == 1 else None
