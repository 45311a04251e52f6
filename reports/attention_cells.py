"""Which neighbouring tokens of an attention map become one cell, so that a long prompt can be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from .attention_rows import SpanMark
from .token_text import font_draws, joined, printable

Level = Literal["tokens", "parts", "demonstrations", "all demonstrations"]
LEVELS: tuple[Level, ...] = ("tokens", "parts", "demonstrations", "all demonstrations")
"""How far demonstrations are folded: not at all, each part, each demonstration, or all of them into one cell."""
FEWEST_CELLS = 8
"""No axis is asked to have fewer cells than this."""

_HEAD = "turn head"
Group = tuple[str, SpanMark]
"""What is marked at an axis, with its name."""


@dataclass(frozen=True)
class Cells:
    """What the tokens of one axis are folded into: cell after cell, without a gap.

    Attributes:
        starts: The first token of each cell.
        counts: How many tokens each one stands for.
        texts: What is written at each one: the token's own text where it stands for one token.
        spans: What the cells are; starts and stops count cells.
    """

    starts: tuple[int, ...]
    counts: tuple[int, ...]
    texts: tuple[str, ...]
    spans: tuple[SpanMark, ...]


def cells_of(tokens: Sequence[str], spans: Sequence[SpanMark], level: Level, run: int = 1) -> Cells:
    """Return the cells of one axis.

    Args:
        tokens: Their texts.
        spans: What they are.
        level: How far demonstrations are folded.
        run: How many neighbouring tokens outside demonstrations become one cell; no cell crosses a span.
    """
    starts: list[int] = []
    counts: list[int] = []
    texts: list[str] = []
    found: list[SpanMark] = []
    for name, span, size in _stretches(tokens, spans, level, run):
        first = len(starts)
        for start in range(span.start, span.stop, size):
            stop = min(start + size, span.stop)
            starts.append(start)
            counts.append(stop - start)
            alone = stop - start == 1 and span.name not in ("demonstration", "demonstrations")
            texts.append(tokens[start] if alone else name or joined(tokens[start:stop], font_draws))
        if span.name != "between":
            found.append(replace(span, start=first, stop=len(starts)))
    return Cells(tuple(starts), tuple(counts), tuple(texts), tuple(found))


def fitting_cells(tokens: Sequence[str], spans: Sequence[SpanMark], most: int) -> tuple[Cells, str]:
    """Return the finest cells of which there are no more than `most`, and what was folded.

    Demonstrations are folded first, and with them the head of a chat's turn. Where that is not enough, neighbouring
    tokens of the rest become one cell, and demonstrations stay apart if they take no more than half of the cells.

    Args:
        tokens: Their texts.
        spans: What they are.
        most: The most cells there may be; fewer than `FEWEST_CELLS` are never asked for.

    Returns:
        The cells, and a note of what each one is, which is empty where nothing is folded.
    """
    most = max(most, FEWEST_CELLS)
    numbers = {span.demonstration for span in spans if span.demonstration is not None}
    has_head = any(span.name == _HEAD for span in spans)
    for level in LEVELS if numbers else LEVELS[: 1 + has_head]:
        cells = cells_of(tokens, spans, level)
        if len(cells.starts) <= most:
            return cells, _note(level, 1, has_head=has_head, has_demonstrations=bool(numbers))
    level = LEVELS[has_head] if not numbers else LEVELS[3] if len(numbers) > most // 2 else LEVELS[2]
    for run in range(2, len(tokens)):
        cells = cells_of(tokens, spans, level, run)
        if len(cells.starts) <= most:
            return cells, _note(level, run, has_head=has_head, has_demonstrations=bool(numbers))
    # There are more spans than cells, so that no cell can be a part of one.
    run = -(-len(tokens) // most)
    return cells_of(tokens, (), "tokens", run), _note("tokens", run)


def groups_of(tokens: Sequence[str], spans: Sequence[SpanMark]) -> tuple[Group, ...]:
    """Return what is marked at an axis, with names: each demonstration as a whole, and every other span.

    A demonstration's name is its number, counted from 1, and its label. Demonstrations that are folded into one cell
    each say so there, and are one group here.

    Args:
        tokens: Texts of the tokens or cells.
        spans: What they are.
    """
    folded = [span for span in spans if span.name == "demonstration"]
    groups = []
    for number, together in groupby(spans, lambda span: -1 if span in folded else span.demonstration):
        parts = list(together)
        if number is None:
            groups += [(part.name, part) for part in parts]
            continue
        whole = SpanMark("demonstrations", parts[0].start, parts[-1].stop, parts[0].demonstration)
        if number == -1:
            name = f"{len(parts)} demonstration{'s' * (len(parts) > 1)}"
        elif parts[0].name == "demonstrations":
            name = tokens[parts[0].start]
        else:
            name = _demonstration_name(tokens, parts)
        groups.append((name, whole))
    return tuple(groups)


def _stretches(
    tokens: Sequence[str], spans: Sequence[SpanMark], level: Level, run: int
) -> Iterator[tuple[str, SpanMark, int]]:
    """Yield every span at this level, and what lies between, with its name as a cell and the size of its cells."""
    at = 0
    for name, span in _at_level(tokens, spans, level):
        if at < span.start:
            yield "", replace(span, name="between", start=at, stop=span.start, demonstration=None), run
        inside = span.demonstration is not None or span.name == _HEAD
        size = 1 if inside and level == "tokens" else span.stop - span.start if inside else run
        yield name, span, size
        at = span.stop
    if at < len(tokens):
        yield "", SpanMark("between", at, len(tokens)), run


def _at_level(tokens: Sequence[str], spans: Sequence[SpanMark], level: Level) -> list[Group]:
    """Return the spans as they are folded at this level, each with its name as one cell."""
    if level in ("tokens", "parts"):
        return [(_part_name(tokens, span), span) for span in spans]
    every = level == "all demonstrations"
    found = []
    for number, together in groupby(spans, lambda span: _number(span, every=every)):
        parts = list(together)
        if number is None:
            found += [(_part_name(tokens, part), part) for part in parts]
            continue
        own = {part.demonstration for part in parts}
        whole = SpanMark(
            "demonstrations" if every else "demonstration",
            parts[0].start,
            parts[-1].stop,
            parts[0].demonstration,
        )
        many = f"{len(own)} demonstration{'s' * (len(own) > 1)}"
        found.append((many if every else _demonstration_name(tokens, parts), whole))
    return found


def _number(span: SpanMark, *, every: bool) -> int | None:
    return 0 if every and span.demonstration is not None else span.demonstration


def _part_name(tokens: Sequence[str], span: SpanMark) -> str:
    if span.demonstration is None:
        return _HEAD if span.name == _HEAD else ""
    if span.name == "demonstration label":
        return printable("".join(tokens[span.start : span.stop]), font_draws)
    return span.name.removeprefix("demonstration ")


def _demonstration_name(tokens: Sequence[str], parts: Sequence[SpanMark]) -> str:
    labels = [tokens[part.start : part.stop] for part in parts if part.name == "demonstration label"]
    label = "".join(token for own in labels for token in own).strip()
    number = f"{(parts[0].demonstration or 0) + 1}"
    return printable(f"{number} {label}" if label else number, font_draws)


def _note(level: Level, run: int, *, has_head: bool = False, has_demonstrations: bool = True) -> str:
    folded = {
        "tokens": "",
        "parts": "each part of a demonstration is one cell",
        "demonstrations": "each demonstration is one cell",
        "all demonstrations": "all demonstrations are one cell",
    }[level]
    parts = [folded] if folded and has_demonstrations else []
    if has_head and level != "tokens":
        parts.append("the head of the turn is one cell" if not parts else "so is the head of the turn")
    apart = f"{run} neighbouring tokens are one cell" if run > 1 else ""
    if apart:
        parts.append(f"{apart} elsewhere" if parts else apart)
    return " and ".join(parts)
