"""A study of any analysis, made of the tables that its figures read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas

from iclprobe.settings import make_config
from iclprobe.study.analysis import registered_analyses, there
from iclprobe.study.study import Study

LONG = "a-recipe-with-a-name-that-somebody-thought-of/on-a-friday-afternoon"


def study_of(
    name: str,
    tables: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    arrays: Any = None,
    parts: Mapping[str, Study] | None = None,
) -> Any:
    """Return a study of the tables that its figures read."""
    analysis = registered_analyses()[name]
    config = make_config(analysis.config, dict(options or {}), "test")
    frames = {key: pandas.DataFrame(rows) for key, rows in tables.items()}
    return there(analysis.study)(name, config, frames, (), {}, arrays or {}, parts or {})
