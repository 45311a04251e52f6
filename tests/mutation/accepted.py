"""Changes that are known to change nothing, each with the reason."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path

from .mutants import Mutant

LIST = Path(__file__).with_name("equivalent.toml")

Key = tuple[str, str, str]
"""What a change is known by: the file, the text of the line (which edits elsewhere leave alone), what became what."""


def accepted() -> set[Key]:
    """Read the list.

    Raises:
        ValueError: If an entry gives no reason.
    """
    entries = tomllib.loads(LIST.read_text(encoding="utf-8")).get("equivalent", [])
    without = [entry["line"] for entry in entries if not entry["reason"].strip()]
    if without:
        raise ValueError(f"{LIST.name} gives no reason for what it accepts in the line {without[0]!r}")
    return {(entry["file"], entry["line"], change) for entry in entries for change in entry["changes"]}


def key_of(file: str, mutant: Mutant) -> Key:
    """Return what a change is known by; the file is relative to the repository's root."""
    return file, mutant.line, mutant.change


def as_entry(file: str, mutants: Iterable[Mutant]) -> str:
    """Return survivors of one line as an entry of the list, where only the reason is missing."""
    first, *rest = mutants
    changes = "".join(f"    {_quoted(mutant.change)},\n" for mutant in (first, *rest))
    return (
        f"[[equivalent]]  # line {first.lines[0]}\nfile = {_quoted(file)}\nline = {_quoted(first.line)}\n"
        f'changes = [\n{changes}]\nreason = ""\n'
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
