"""The tables of a study as its page carries them: by columns, numbers to six digits, the first rows of long ones."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...study.columns import Column, Frame
    from ...study.study import Study

MOST_BYTES = 200_000
"""Of one table in a page; what is longer is whole in its CSV."""
_PROBED_ROWS = 200


def page_tables(study: Study) -> list[dict[str, Any]]:
    """Return every table that has rows.

    Args:
        study: The study.
    """
    declared = study.declaration
    return [
        _table(name, frame, declared.table(name).meaning, declared.table(name).columns)
        for name, frame in study.tables.items()
        if name != "facts" and len(frame)
    ]


def _table(name: str, frame: Frame, meaning: str, columns: tuple[Column, ...]) -> dict[str, Any]:
    shown = frame.head(_most_rows(frame))
    return {
        "name": name,
        "meaning": meaning,
        "rows": len(frame),
        "shown": len(shown),
        "columns": [
            {
                "name": column.name,
                "kind": column.kind,
                "meaning": column.meaning,
                "unit": column.unit,
                "source": column.source,
                "values": [_value(value) for value in shown[column.name]],
            }
            for column in columns
        ],
    }


def _most_rows(frame: Frame) -> int:
    few = frame.head(_PROBED_ROWS)
    size = len(
        json.dumps([[_value(value) for value in few[name]] for name in few], ensure_ascii=False).encode()
    )
    return max(1, int(MOST_BYTES / max(1, size) * len(few)))


def _value(value: Any) -> Any:
    import pandas

    if value is pandas.NA or value is None or value != value:
        return None
    plain: Any = value.item() if hasattr(value, "item") else value
    if not isinstance(plain, float):
        return plain
    return str(plain) if math.isinf(plain) else float(f"{plain:.6g}")
