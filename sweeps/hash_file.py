"""Hashes of files, kept beside a sweep so that hundreds of gigabytes are read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..json_text import parse_json
from ..study.run_directory import told_if_unwritable
from ..text_files import Unreadable, read_text
from ..unfinished import unfinished_place

_NAME = "hashes.json"
_LARGEST = 100_000_000

FileKey = tuple[str, int, int, int]
"""A file's path, its size, and the times of the last change of its content and of itself, in nanoseconds."""


def read_hashes(folder: Path) -> dict[FileKey, str]:
    """Return what was hashed before, by path, size and times of the last changes; nothing where that is unknown."""
    path = folder / _NAME
    if not path.is_file():
        return {}
    try:
        said = parse_json(read_text(path, _LARGEST))
        return {
            (str(path), int(size), int(modified), int(changed)): str(digest)
            for path, size, modified, changed, digest in said
        }
    except (Unreadable, TypeError, ValueError):
        # They are only kept to save time.
        return {}


def write_hashes(folder: Path, hashes: Mapping[FileKey, str]) -> None:
    """Keep hashes in a sweep's folder, if there are new ones."""
    if read_hashes(folder) == dict(hashes):
        return
    path = folder / _NAME
    with told_if_unwritable(path), unfinished_place(path) as place:
        place.write_text(
            json.dumps([[*key, digest] for key, digest in sorted(hashes.items())], indent=0) + "\n"
        )
        place.replace(path)
