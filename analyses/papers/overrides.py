"""Settings that a user puts in place of the declared ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from ...errors import UserError, shown
from ...text_files import Unreadable
from ...yaml_text import parse_yaml
from ..public_settings import without_secrets


def read_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` texts; values are YAML, and a dot in a key goes one level down.

    Args:
        texts: Such as ``limit=32`` or ``plan.positions=first_label_token``.

    Raises:
        UserError: If a text is not of that form.
    """
    result: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise UserError(f"--set {shown(text)} is not of the form KEY=VALUE, such as limit=32")
        try:
            read = parse_yaml(value)
        except Unreadable as error:
            raise UserError(f"--set {shown(text)} has a value that is no YAML ({error}): quote it") from error
        *above, last = key.split(".")
        place = result
        for part in above:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise UserError(
                    f"--set {shown(text)} goes below a key that has a value already: leave one out"
                )
        # YAML takes 1e-3 for text.
        place[last] = _number(read) if isinstance(read, str) else read
    return result


def plain_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON and YAML can hold them, without the secrets in their addresses.

    Args:
        overrides: Settings, which may hold checkpoints or recipes.
    """
    return TypeAdapter(dict[str, Any]).dump_python(dict(without_secrets(overrides)), mode="json")


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
