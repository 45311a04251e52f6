"""A comparison on a real model in float32, whose numbers stand where those of `golden.compare` do."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from iclprobe.study.study import Study

OLD = [
    *("compare", "--model", "{real}", "--device", "cpu", "--dtype", "float32", "--batch-size", "4"),
    *("--shots", "4", "--seeds", "0,1", "--limit", "12", "--lr", "0.001"),
]
NEW = OLD


def pairs(old: dict[str, Any], study: Study) -> Iterator[tuple[str, object, object]]:
    """Yield every leaf of ``results.json`` with the same one of a study."""
    yield from import_module("golden.compare").pairs(old, study)
