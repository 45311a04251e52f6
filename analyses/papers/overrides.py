"""Settings that a user puts in place of the declared ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import TypeAdapter

from ...errors import UserError
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
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--set {text!r}: {value!r} is no YAML value") from error
        if not equals or not key:
            raise UserError(f"--set {text!r} is not of the form KEY=VALUE, such as limit=32")
        *above, last = key.split(".")
        place = result
        for part in above:
            place = place.setdefault(part, {})
        # YAML reads 1e-3 as text.
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
