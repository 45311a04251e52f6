"""Changes that are known to change nothing, each with the reason."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from .mutants import Mutant

LIST = Path(__file__).with_name("equivalent.toml")


@dataclass(frozen=True)
class Accepted:
    """A change that no test can notice, or none should.

    Attributes:
        file: Path from the repository's root.
        line: Text of the line, so that the entry outlives edits elsewhere.
        change: What became what, see `Mutant.change`.
        reason: Why it changes nothing that anyone relies on.
    """

    file: str
    line: str
    change: str
    reason: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What a change is known by."""
        return self.file, self.line, self.change


def accepted() -> dict[tuple[str, str, str], Accepted]:
    """Read the list."""
    entries = tomllib.loads(LIST.read_text(encoding="utf-8")).get("equivalent", [])
    return {(entry := Accepted(**values)).key: entry for values in entries}


def key_of(file: str, mutant: Mutant) -> tuple[str, str, str]:
    """Return what a change is known by."""
    return file, mutant.line, mutant.change
