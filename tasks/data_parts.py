"""Which part of the user's data demonstrations are drawn from, and which is asked.

Parts go by the names that published datasets use: `train`; and `validation`, `valid`, `val`, `dev` or `eval`. Where
none has such a name alone, one with something behind it counts, as in `validation_matched.jsonl` or
`train-00000-of-00001.parquet`. A `test` part is asked only where there is no validation part, because those of
published benchmarks have no labels, or labels nobody should have looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..text_files import is_folder
from .table_files import TABLE_SUFFIXES

TRAIN = ("train",)
VALIDATION = ("validation", "valid", "val", "dev", "eval", "evaluation", "development")
TEST = ("test",)


@dataclass(frozen=True)
class DataPart:
    """One part of the data.

    Attributes:
        name: What the user calls it: a path, or a key.
        source: Where its records are.
        is_test: Whether it is called a test part.
    """

    name: str
    source: Any
    is_test: bool = False


@dataclass(frozen=True)
class DataParts:
    """The two parts of the data.

    Attributes:
        name: What the user calls the whole.
        train: What demonstrations are drawn from.
        asked: What is asked.
    """

    name: str
    train: DataPart
    asked: DataPart


def find_parts(data: Any) -> DataParts | None:
    """The parts of a directory or a mapping; None for data that has no parts.

    Raises:
        UserError: When a part is missing, or two are candidates for it.
    """
    if isinstance(data, Mapping):
        return _parts("The given data", {str(key): DataPart(repr(key), part) for key, part in data.items()})
    if isinstance(data, str | Path) and is_folder(data):
        found = {
            path.stem + path.suffix: DataPart(str(path), path)
            for suffix in TABLE_SUFFIXES
            for path in sorted(Path(data).iterdir())
            if path.suffix.lower() == suffix and path.is_file()
        }
        return _parts(str(data), found)
    return None


def _parts(name: str, parts: Mapping[str, DataPart]) -> DataParts:
    train = _part_called(name, parts, TRAIN)
    if train is None:
        raise UserError(_missing(name, parts, TRAIN[0]))
    asked = _part_called(name, parts, VALIDATION)
    if asked is None:
        test = _part_called(name, parts, TEST)
        if test is None:
            raise UserError(_missing(name, parts, VALIDATION[0]))
        asked = DataPart(test.name, test.source, is_test=True)
    return DataParts(name, train, asked)


def _part_called(name: str, parts: Mapping[str, DataPart], stems: Sequence[str]) -> DataPart | None:
    longer = re.compile(rf"(?:{'|'.join(stems)})[-_.].*")
    own = {
        key: Path(key).stem.casefold() if Path(key).suffix.lower() in TABLE_SUFFIXES else key.casefold()
        for key in parts
    }
    found = [key for key in parts if own[key] in stems] or [
        key for key in parts if longer.fullmatch(own[key])
    ]
    if len(found) > 1:
        raise UserError(
            f"{name} has both {' and '.join(found[:2])}: keep one of them, or give the two parts by name, as "
            "data={'train': …, 'validation': …}."
        )
    return parts[found[0]] if found else None


def _missing(name: str, parts: Mapping[str, DataPart], stem: str) -> str:
    if name == "The given data":
        return (
            f"{name} has the keys {', '.join(parts) or 'none'}: name its two parts 'train' and 'validation', or give "
            "one part alone, which is split in two."
        )
    return (
        f"{name} has no {stem} file: put {stem}.jsonl (or {', '.join(TABLE_SUFFIXES[1:])}) "
        "there, or give the path of one file."
    )
