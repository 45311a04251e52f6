"""What an option's text means, by the type of its field: written once for every command."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args, get_origin

from ..errors import UserError, shown
from ..on_command_line import OnCommandLine
from ..text_files import is_file


def value_of(text: str, annotation: Any, declared: OnCommandLine, option: str) -> Any:
    """Return the value that a text gives a field; what is impossible is left for the field's own checks.

    Args:
        text: What was typed.
        annotation: The field's type.
        declared: What the field says of its option.
        option: What the option is called, for messages.

    Raises:
        UserError: If a text of pairs is none.
    """
    if declared.read is not None:
        return declared.read(text)
    kinds = alternatives(annotation)
    for kind in kinds:
        if get_origin(kind) is Literal:
            for choice in get_args(kind):
                # A choice may be a number.
                if text == str(choice):
                    return choice
    if any(get_origin(kind) is dict for kind in kinds) and "=" in text:
        # A mapping's values may be lists.
        listed = any(get_origin(kind) is dict and _holds_tuples(kind) for kind in kinds)
        return pairs_of(text, option, declared.example or "name=value", ";" if listed else ",")
    if any(get_origin(kind) in (tuple, list) for kind in kinds) and not is_file(text):
        return tuple(part.strip() for part in text.split(","))
    if any(get_origin(kind) is dict for kind in kinds) and str not in kinds:
        return pairs_of(text, option, declared.example or "name=value", ",")
    return text


def pairs_of(text: str, option: str, example: str, between: str) -> dict[str, str]:
    """Read ``a=b,c=d``.

    Raises:
        UserError: If it is something else, or names a key twice.
    """
    read: dict[str, str] = {}
    for part in text.split(between):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key:
            raise UserError(f"{option} {shown(text)} is not of the form {example}")
        if key in read:
            raise UserError(f"{option} names {shown(key)} twice: keep one of them")
        read[key] = value
    return read


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the types that a field's annotation allows, without their checks."""
    if get_origin(annotation) is Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (tuple, list, dict, Literal) or not get_args(annotation):
        return (annotation,)
    return tuple(kind for part in get_args(annotation) for kind in alternatives(part))


def _holds_tuples(kind: Any) -> bool:
    value = get_args(kind)[1]
    return any(get_origin(each) in (tuple, list) for each in alternatives(value))
