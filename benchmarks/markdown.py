"""How entries of the record are said in Markdown: tables, where and when something was measured, quartiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import record

Latest = Mapping[str, record.Entry]
Rows = list[list[str]]


def markdown(head: list[str], rows: Rows) -> str:
    """Return a table; what stands in the first column is text, all else numbers."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def is_trial(entry: record.Entry) -> bool:
    """Tell whether an entry is too unsure to be claimed: fewer than three rounds, or others were computing."""
    machine = entry["machine"]
    # The benchmark before this one keeps all cores busy by itself.
    return entry["options"].get("pairs", 0) < 3 or machine["load"] > machine["cores"] + 1


def where(entry: record.Entry) -> str:
    machine, versions = entry["machine"], entry["versions"]
    said = [
        f"{name} {versions.get(name, 'unknown')}"
        for name in ("torch", "transformers", "transformer-lens", "nnsight")
    ]
    trial = (
        "**A trial, of few rounds or on a busy machine, and nothing to rely on.** " if is_trial(entry) else ""
    )
    return (
        f"{trial}{entry['date'][:10]}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['threads']} threads, load {machine['load']} as it began, "
        f"{', '.join(said)}, commit {entry['commit']}."
    )


def quartiles_text(each: Mapping[str, Any], digits: int = 2) -> str:
    low, high = each["quartiles"]
    return f"[{low:.{digits}f}, {high:.{digits}f}]"
