"""What all configurations have in common: plain values within bounds, and one sentence for what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

from .errors import UserError, shown
from .text_files import has_half_character

Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""What a random draw is named after."""
Shots = Annotated[int, Field(ge=1, le=100_000)]
"""A number of demonstrations."""
Records = Annotated[int, Field(ge=1, le=100_000_000)]
"""A number of records or tokens."""
BatchSize = Annotated[int, Field(ge=1, le=1_000_000)]
"""How many are worked on at once."""
Epochs = Annotated[int, Field(ge=1, le=100_000)]
"""Passes over the demonstrations, or between two evaluations; the papers have 200."""
Layer = Annotated[int, Field(ge=-100_000, le=100_000)]
"""A layer, counted from 0, negative from the end."""
LARGEST = 1e18
"""Of rates, limits and scales: beyond it nothing is learned, and float32 still holds the products."""
Positive = Annotated[float, Field(gt=0, le=LARGEST)]
"""A rate, limit or scale."""

FINISHED = "of a finished run"
"""The key of pydantic's context that tells validators whether a configuration is only read."""

Kind = TypeVar("Kind", bound="Settings")


class Settings(BaseModel):
    """A configuration: no key that it does not know, no number that is infinite, no truth value for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _plain_values(cls, value: Any, info: ValidationInfo) -> Any:
        if any(isinstance(each, bool) for each in _each(value)) and info.field_name is not None:
            kinds = _kinds(cls.model_fields[info.field_name].annotation)
            if kinds & {int, float} and bool not in kinds:
                raise ValueError("give a number; true and false are none")
        if any(isinstance(each, str) and has_half_character(each) for each in _each(value)):
            raise ValueError("half a character stands in it; give text that UTF-8 can hold")
        return value


def _each(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _kinds(annotation: Any) -> set[Any]:
    """Return the types that a field's annotation is made of."""
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _kinds(parts[0])
    return set().union(*map(_kinds, parts)) if parts else {annotation}


def make_config(
    kind: type[Kind],
    values: Mapping[str, Any],
    source: str,
    options: Mapping[str, str] | None = None,
    *,
    finished: bool = False,
) -> Kind:
    """Build a configuration and turn what is wrong with it into one sentence.

    Args:
        kind: The configuration's class.
        values: Its fields.
        source: Where they come from, for the message.
        options: What the command line calls the fields that were given there, for the message.
        finished: Whether they are of a run that is over: what was in memory then is only named, and read as its name.

    Raises:
        UserError: If a key is unknown or a value impossible; it names the key and what is allowed.
    """
    try:
        given = {_text(key): value for key, value in values.items()}
        return kind.model_validate(given, context={FINISHED: finished})
    except ValidationError as error:
        raise UserError(_sentence(error, kind, values, source, options or {})) from error


def _text(key: object) -> str:
    # A YAML key may be a number, and keywords are texts.
    return key if isinstance(key, str) else shown(key)


def _sentence(
    error: ValidationError,
    kind: type[BaseModel],
    values: Mapping[str, Any],
    source: str,
    options: Mapping[str, str],
) -> str:
    errors = error.errors(include_url=False)
    first = errors[0]
    place = _place(first["loc"], values)
    if not place:
        return f"{source} cannot be followed: {_reason(first)}"
    # A place named by an option is the option's, however deep it is.
    key = next((options[name] for name in place if name in options), None)
    name = f"{source}: {'.'.join(place)}" if key is None else key
    if first["type"] == "extra_forbidden":
        return f"{source} has the unknown key {shown('.'.join(place))}: {_allowed(place[-1], kind)}"
    if first["type"] == "missing":
        return f"{source} has no {'.'.join(place)}: give it"
    same = [entry for entry in errors if entry["loc"][:1] == first["loc"][:1]]
    reasons = list(dict.fromkeys(_reason(entry) for entry in same))
    return f"{name} cannot be {shown(first['input'])}: {', or '.join(reasons)[:150]}"


def _place(loc: tuple[int | str, ...], values: Any) -> list[str]:
    """Return the keys and numbers that lead to a value; pydantic also names the types that it tried."""
    place: list[str] = []
    for part in loc:
        if isinstance(values, Mapping) and (part in values or not place):
            values = values.get(part)
        elif isinstance(values, list | tuple) and isinstance(part, int) and part < len(values):
            values = values[part]
        else:
            continue
        place.append(str(part)[:60])
    return place


def _allowed(key: str, kind: type[BaseModel]) -> str:
    close = get_close_matches(key, kind.model_fields, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    fields = list(kind.model_fields)
    return f"there are {', '.join(fields[:6])} and others, see help(iclprobe.{kind.__name__})"


_LIMITS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def _reason(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    if error["type"] in _LIMITS:
        words, name = _LIMITS[error["type"]]
        # pydantic writes 1e30 with all its zeros.
        return f"it should be {words} {context[name]:,}"
    if error["type"] == "too_short":
        return f"give at least {context['min_length']}, not {context['actual_length']}"
    if error["type"] == "too_long":
        return f"give at most {context['max_length']:,}"
    message = error["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    return message[:1].lower() + message[1:]
