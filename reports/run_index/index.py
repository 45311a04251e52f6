"""The page that lists runs, sorts and filters them, and shows several beside each other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from ...study.run_entry import RunEntry

_TOLD = ("path", "state", "note", "analysis", "model", "task", "date", "page", "alarms")


def index_page(
    runs: Sequence[RunEntry], title: str, settings: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """Return the whole page; it needs nothing else but the runs' own files, below ``files/``.

    Args:
        runs: What it lists.
        title: What it is called.
        settings: What was asked of each run, by its path; None lets the page ask for it at ``settings/PATH``.
    """
    names = list(dict.fromkeys(name for run in runs for name, *_ in run.measures))
    place = {name: number for number, name in enumerate(names)}
    units = {name: unit for run in runs for name, *_, unit in run.measures}
    told = [
        {
            **{name: getattr(run, name) for name in _TOLD},
            # Names are long and stand in every run.
            "measures": [
                [place[name], *map(_finite, numbers)]
                for name, *numbers, _ in run.measures
                if _finite(numbers[0]) is not None
            ],
        }
        for run in runs
    ]
    data = {
        "title": title,
        "names": names,
        "units": [units[name] for name in names],
        "runs": told,
        "settings": settings,
    }
    page = _text("index.html")
    for mark, text in (
        ("STYLE", _text("index.css")),
        ("SCRIPT", _text("index.js")),
        ("DATA", _inlined(data)),
    ):
        page = page.replace(f"<!--{mark}-->", text)
    return page


def _text(name: str) -> str:
    return files("iclprobe.reports.run_index").joinpath(name).read_text(encoding="utf-8")


def _inlined(data: Any) -> str:
    """Return JSON that stands in a script element: nothing in it can end that, or begin a comment."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
