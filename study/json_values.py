"""A study as strict JSON holds it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .plain_values import plain

if TYPE_CHECKING:
    from pandas import DataFrame

    from .study import Study


def study_values(study: Study) -> dict[str, Any]:
    """Return analysis, configuration, findings, tables (a mapping a row) and provenance.

    Args:
        study: The study.
    """
    from .finding import findings_frame

    return {
        "analysis": study.analysis,
        "config": plain(study.config.model_dump()),
        "findings": rows_of(findings_frame(study.findings)),
        "tables": {name: rows_of(frame) for name, frame in study.tables.items()},
        "provenance": plain(study.provenance),
    }


def rows_of(frame: DataFrame) -> list[dict[str, Any]]:
    """Return one mapping a row: what is missing or NaN is None, an infinite number its text."""
    return [{str(name): _value(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _value(value: Any) -> Any:
    import pandas

    if value is pandas.NA or value is None or value != value:
        return None
    plain: Any = value.item() if hasattr(value, "item") else value
    return str(plain) if isinstance(plain, float) and math.isinf(plain) else plain
