"""Data as a configuration holds it: a path, paths by part, or records that were in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, ValidationInfo, WithJsonSchema

from ..settings import FINISHED
from ..tasks.given_records import GivenRecords, require_readable


def _as_data(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str) and info.context is not None and info.context.get(FINISHED):
        return value
    if value is None or isinstance(value, GivenRecords):
        return value
    if isinstance(value, str | Path):
        return require_readable(str(value))
    if isinstance(value, Mapping) and value and all(isinstance(part, str | Path) for part in value.values()):
        return {str(name): str(part) for name, part in value.items()}
    return GivenRecords(value)


Data = Annotated[
    str
    | dict[str, str]
    | Annotated[
        InstanceOf[GivenRecords],
        PlainSerializer(str, when_used="json"),
        WithJsonSchema({"type": "string"}),
    ],
    BeforeValidator(_as_data),
]
"""What `read_data` takes; whatever is in memory is copied into `GivenRecords`."""
