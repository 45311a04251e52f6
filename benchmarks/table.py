"""What the record says, as text, as Markdown of pages and as a picture: ``python -m benchmarks.table`` renews them.

A page holds a block between ``<!-- speed: NAME -->`` and ``<!-- end -->``; what stands there is written here alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import record
from .capture_blocks import capture_block, draw, engines_block, grid_block, profile_block, readme_block
from .command_blocks import end_to_end_block, memory_block, startup_block
from .markdown import Latest

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "speed.md", ROOT / "docs" / "engines.md")
PICTURE = ROOT / "reports" / "gallery" / "speed" / "capture.png"
_BLOCK = re.compile(r"(<!-- speed: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def write_pages(name: str = "cpu") -> None:
    """Write every block of every page, and the picture, from a record's latest entries."""
    latest = latest_of(record.read(name))
    for page in PAGES:
        page.write_text(renewed(page.read_text(encoding="utf-8"), latest), encoding="utf-8")
    if latest.get("capture", {}).get("options"):
        draw(latest["capture"], PICTURE)


def latest_of(entries: Mapping[str, list[record.Entry]]) -> Latest:
    """Return the last entry of each benchmark."""
    return {name: each[-1] for name, each in entries.items() if each}


def renewed(text: str, latest: Latest) -> str:
    """Return a page with its blocks as the record has them."""

    def block(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        return f"{begin}{BLOCKS[name](latest)}\n{end}"

    return _BLOCK.sub(block, text)


def text_of(benchmark: str, entry: record.Entry) -> str:
    """Return an entry as text for a terminal: the tables that pages have of it, or all that was measured."""
    block = BLOCKS.get(benchmark)
    if block is None:
        return "\n".join(_lines(entry["result"]))
    return block({benchmark: entry})


def _lines(value: Any, indent: int = 0) -> list[str]:
    if not isinstance(value, dict):
        return [" " * indent + str(value)]
    lines = []
    for name, each in value.items():
        if isinstance(each, dict):
            lines += [f"{' ' * indent}{name}:", *_lines(each, indent + 2)]
        else:
            lines.append(f"{' ' * indent}{name}: {each}")
    return lines


BLOCKS: Mapping[str, Callable[[Latest], str]] = {
    "capture": lambda latest: _or_nothing(latest, "capture", capture_block),
    "grid": lambda latest: _or_nothing(latest, "grid", grid_block),
    "profile": lambda latest: _or_nothing(latest, "profile", profile_block),
    "startup": lambda latest: _or_nothing(latest, "startup", startup_block),
    "end-to-end": lambda latest: _or_nothing(latest, "end-to-end", end_to_end_block),
    "memory": lambda latest: _or_nothing(latest, "memory", memory_block),
    "engines": lambda latest: _or_nothing(latest, "capture", engines_block),
    "readme": lambda latest: _or_nothing(latest, "capture", readme_block),
}


def _or_nothing(latest: Latest, needed: str, block: Callable[[Latest], str]) -> str:
    if needed not in latest or not latest[needed]["options"]:
        return f"Nothing is recorded yet: `python -m benchmarks {needed}`."
    return block(latest)


if __name__ == "__main__":
    write_pages(*sys.argv[1:])
