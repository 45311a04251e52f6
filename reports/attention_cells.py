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
"""How far demonstrations are folded: not at all, each part, each but for its label, or all of them but for theirs.

A label is never folded into the text that it belongs to: whether heads look at labels is what maps are drawn for.
"""
FEWEST_CELLS = 8
"""No axis is asked to have fewer cells than this."""

_HEAD, _LABELS = "turn head", "their labels"
Group = tuple[str, SpanMark]
"""What is marked at an axis, with its name."""


@dataclass(frozen=True)
class Cells:
    """What the tokens of one axis are folded into: cell after cell, without a gap.

    Attributes:
        starts: The first token of each cell, by its place in `order`.
        counts: How many tokens each one stands for.
        texts: What is written at each one: the token's own text where it stands for one token.
        spans: What the cells are; starts and stops count cells.
        order: The tokens in the order of the cells, which is not theirs where all labels are one cell.
    """

    starts: tuple[int, ...]
    counts: tuple[int, ...]
    texts: tuple[str, ...]
    spans: tuple[SpanMark, ...]
    order: tuple[int, ...]


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
    order = tuple(range(len(tokens)))
    if level == "all demonstrations":
        order, groups = _folded_together(tokens, spans)
        tokens = [tokens[place] for place in order]
    else:
        parts = _texts_and_labels(spans) if level == "demonstrations" else spans
        groups = [(_part_name(tokens, span, level), span) for span in parts]
    for name, span, size in _stretches(len(tokens), groups, level, run):
        first = len(starts)
        for start in range(span.start, span.stop, size):
            stop = min(start + size, span.stop)
            starts.append(start)
            counts.append(stop - start)
            alone = stop - start == 1 and span.name != "demonstrations" and name != _LABELS
            texts.append(tokens[start] if alone else name or joined(tokens[start:stop], font_draws))
        if span.name != "between":
            found.append(replace(span, start=first, stop=len(starts)))
    return Cells(tuple(starts), tuple(counts), tuple(texts), tuple(found), order)


def fitting_cells(tokens: Sequence[str], spans: Sequence[SpanMark], most: int) -> tuple[Cells, str]:
    """Return the finest cells of which there are no more than `most`, and what was folded.

    Demonstrations are folded first, and with them the head of a chat's turn. Where that is not enough, neighbouring
    tokens of the rest become one cell, and demonstrations stay apart if they take no more than two thirds of the
    cells. Labels have cells of their own.

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
    apart = 2 * len(numbers) <= 2 * most // 3
    for level in LEVELS[: 3 if apart else 4] if numbers else LEVELS[: 1 + has_head]:
        cells = cells_of(tokens, spans, level)
        if len(cells.starts) <= most:
            return cells, _note(level, 1, has_head=has_head, has_demonstrations=bool(numbers))
    level = LEVELS[has_head] if not numbers else LEVELS[2] if apart else LEVELS[3]
    for run in range(2, len(tokens)):
        cells = cells_of(tokens, spans, level, run)
        if len(cells.starts) <= most:
            return cells, _note(level, run, has_head=has_head, has_demonstrations=bool(numbers))
    # There are more spans than cells, so that no cell can be a part of one.
    run = -(-len(tokens) // most)
    return cells_of(tokens, (), "tokens", run), _note("tokens", run)


def groups_of(tokens: Sequence[str], spans: Sequence[SpanMark]) -> tuple[Group, ...]:
    """Return what is marked at an axis, with names: each demonstration as a whole, and every other span.

    A demonstration's name is its number, counted from 1, and its label. All demonstrations that are folded together
    are one group.

    Args:
        tokens: Texts of the tokens or cells.
        spans: What they are.
    """
    groups = []
    for number, together in groupby(spans, lambda span: span.demonstration):
        parts = list(together)
        if number is None:
            groups += [(part.name, part) for part in parts]
            continue
        whole = SpanMark("demonstrations", parts[0].start, parts[-1].stop, parts[0].demonstration)
        folded = parts[0].name == "demonstrations"
        groups.append((tokens[parts[0].start] if folded else _demonstration_name(tokens, parts), whole))
    return tuple(groups)


def _stretches(
    length: int, groups: Sequence[Group], level: Level, run: int
) -> Iterator[tuple[str, SpanMark, int]]:
    """Yield every span, and what lies between, with its name as a cell and the size of its cells."""
    at = 0
    for name, span in groups:
        if at < span.start:
            yield "", replace(span, name="between", start=at, stop=span.start, demonstration=None), run
        inside = span.demonstration is not None or span.name == _HEAD
        size = 1 if inside and level == "tokens" else span.stop - span.start if inside else run
        yield name, span, size
        at = span.stop
    if at < length:
        yield "", SpanMark("between", at, length), run


def _is_label(span: SpanMark) -> bool:
    return span.name == "demonstration label"


def _texts_and_labels(spans: Sequence[SpanMark]) -> list[SpanMark]:
    """Return the spans with what stands between two labels as one, which belongs to the later demonstration."""
    found: list[SpanMark] = []
    for span in spans:
        before = found[-1] if found else span
        texts = all(each.demonstration is not None and not _is_label(each) for each in (before, span))
        if texts and before.stop == span.start:
            found[-1] = replace(span, name="demonstration input", start=before.start)
        else:
            found.append(span)
    return found


def _folded_together(tokens: Sequence[str], spans: Sequence[SpanMark]) -> tuple[tuple[int, ...], list[Group]]:
    """Return the tokens with the labels of all demonstrations behind their texts, and the spans there with names."""
    shown = [span for span in spans if span.demonstration is not None]
    groups = [(_part_name(tokens, span), span) for span in spans if span.demonstration is None]
    if not shown:
        return tuple(range(len(tokens))), groups
    first, last = shown[0].start, shown[-1].stop
    labels = [place for span in shown if _is_label(span) for place in span.places]
    texts = sorted(set(range(first, last)) - set(labels))
    many = len({span.demonstration for span in shown})
    middle, number = first + len(texts), shown[0].demonstration
    name = f"{many} demonstration{'s' * (many > 1)}"
    both = [
        (name, SpanMark("demonstrations", first, middle, number)),
        (_LABELS, SpanMark("demonstration label", middle, last, number)),
    ]
    before = [group for group in groups if group[1].stop <= first]
    behind = [group for group in groups if group[1].start >= last]
    order = (*range(first), *texts, *labels, *range(last, len(tokens)))
    return order, [*before, *(each for each in both if each[1].start < each[1].stop), *behind]


def _part_name(tokens: Sequence[str], span: SpanMark, level: Level = "parts") -> str:
    if span.demonstration is None:
        return _HEAD if span.name == _HEAD else ""
    if _is_label(span):
        return printable("".join(tokens[span.start : span.stop]), font_draws)
    if level == "demonstrations" and span.name == "demonstration input":
        return f"{span.demonstration + 1}"
    return span.name.removeprefix("demonstration ")


def _demonstration_name(tokens: Sequence[str], parts: Sequence[SpanMark]) -> str:
    labels = [tokens[part.start : part.stop] for part in parts if _is_label(part)]
    label = "".join(token for own in labels for token in own).strip()
    number = f"{(parts[0].demonstration or 0) + 1}"
    return printable(f"{number} {label}" if label else number, font_draws)


def _note(level: Level, run: int, *, has_head: bool = False, has_demonstrations: bool = True) -> str:
    folded = {
        "tokens": "",
        "parts": "each part of a demonstration is one cell",
        "demonstrations": "each demonstration is one cell and its label another",
        "all demonstrations": "all demonstrations are one cell and their labels another",
    }[level]
    parts = [folded] if folded and has_demonstrations else []
    if has_head and level != "tokens":
        parts.append("the head of the turn is one cell" if not parts else "so is the head of the turn")
    apart = f"{run} neighbouring tokens are one cell" if run > 1 else ""
    if apart:
        parts.append(f"{apart} elsewhere" if parts else apart)
    return " and ".join(parts)
