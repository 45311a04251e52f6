"""What two runs say of the same thing, number by number."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from golden.dropped import DROPPED


@dataclass
class Counts:
    """What came of the leaves of one old ``results.json``.

    Attributes:
        numbers: How many numbers, undefined ones among them, are equal.
        others: How many texts, truths and empty lists are.
        dropped: How many leaves have no new place, by why.
        wrong: What differs, is not where it is said to be, or was left out.
    """

    numbers: int = 0
    others: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def counted(old: dict[str, Any], pairs: Iterable[tuple[str, object, object]]) -> Counts:
    """Compare every leaf of an old ``results.json`` with what has its place now.

    A path may also name a list or a mapping: then what stands in it is compared, or all of it is dropped. A path
    whose old value is no leaf, such as how many rows there are, is compared and counts for no leaf.

    Args:
        old: The old results.
        pairs: A path, the old value and the new one; or a path, `DROPPED` and why.
    """
    counts = Counts()
    left: dict[str, list[object]] = {}
    inner = set()
    for path, value in leaves_of(old):
        left.setdefault(_name(path), []).append(value)
        inner.update(_name(path[:length]) for length in range(1, len(path)))
    for path, before, now in pairs:
        if before is DROPPED:
            _drop(counts, left, _name((path,)), str(now))
            continue
        for (*place,), one, other in _each((path,), before, now):
            name = _name(place)
            standing = left.get(name, [])
            found = next((at for at, value in enumerate(standing) if _is_same(value, one)), None)
            if found is not None:
                standing.pop(found)
            elif name not in inner:
                counts.wrong.append(f"{name} is not {one!r} in the old results, or is said twice")
                continue
            if not is_equal(one, other):
                counts.wrong.append(f"{name} {one!r}, now {other!r}")
            elif found is not None and (one is None or _is_number(one)):
                counts.numbers += 1
            elif found is not None:
                counts.others += 1
    counts.wrong += [f"{name} has no new place" for name, values in left.items() for _ in values]
    return counts


def leaves_of(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield every leaf with the keys that lead to it; an empty list or mapping is one, too."""
    if isinstance(value, dict | list) and value:
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in entries:
            yield from leaves_of(entry, (*path, str(key)))
    else:
        yield path, value


def is_equal(old: object, new: object) -> bool:
    """Return whether a value is the old one: floats bit for bit; what was NaN or infinite was written as null."""
    old, new = _plain(old), _plain(new)
    if old is None or (isinstance(old, float) and math.isnan(old)):
        return new is None or (isinstance(new, float) and not math.isfinite(new))
    if isinstance(old, bool) or isinstance(new, bool):
        return isinstance(old, bool) and isinstance(new, bool) and old == new
    if isinstance(old, float) and isinstance(new, float):
        return struct.pack("<d", old) == struct.pack("<d", new)
    if _is_sized(old) and _is_sized(new):
        return len(old) == len(new) == 0  # type: ignore[arg-type]
    return old == new


def _drop(counts: Counts, left: dict[str, list[object]], name: str, why: str) -> None:
    names = [each for each in left if left[each] and (each == name or each.startswith(f"{name}."))]
    if not names:
        counts.wrong.append(f"{name} is dropped, and is not in the old results")
    for each in names:
        counts.dropped[why] = counts.dropped.get(why, 0) + len(left[each])
        left[each] = []


def _each(
    path: tuple[str, ...], old: object, new: object
) -> Iterator[tuple[tuple[str, ...], object, object]]:
    """Yield what stands in lists and mappings beside each other, and how long lists are.

    An entry that is missing now is Ellipsis; a mapping may have more of them now.
    """
    if not isinstance(old, dict | list | tuple) or not old:
        yield path, old, new
        return
    now = new.tolist() if hasattr(new, "tolist") else new  # type: ignore[attr-defined]
    if not isinstance(old, dict) and isinstance(now, list | tuple):
        yield path, len(old), len(now)
    old, now = (dict(enumerate(one)) if isinstance(one, list | tuple) else one for one in (old, now))
    known: dict[Any, object] = now if isinstance(now, dict) else {}
    for key, entry in old.items():  # type: ignore[union-attr]
        yield from _each((*path, str(key)), entry, known.get(key, ...))


def _is_same(value: object, told: object) -> bool:
    """Return whether a leaf of the old file is what is said to stand there."""
    return _is_sized(value) == _is_sized(told) and is_equal(value, told)


def _is_number(value: object) -> bool:
    return isinstance(_plain(value), int | float) and not isinstance(_plain(value), bool)


def _is_sized(value: object) -> bool:
    return isinstance(value, dict | list | tuple)


def _plain(value: object) -> Any:
    """Return a number of numpy or pandas as Python's; what is missing in a table is None."""
    if type(value).__name__ == "NAType":
        return None
    return value.item() if hasattr(value, "item") else value  # type: ignore[attr-defined]


def _name(path: Iterable[str]) -> str:
    """Return a path as it is compared, whatever stands between its keys."""
    return re.sub(r"\W+", ".", ".".join(path)).strip(".")
