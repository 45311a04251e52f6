"""Attention rows of made prompts, with the spans that a capture has."""

from __future__ import annotations

from typing import Any

import numpy as np

from iclprobe.reports.attention_rows import AttentionRows, Kind, SpanMark

LABELS = (" positive", " negative")


def made_prompt(
    demonstrations: int, each: int, query: int, *, chat: bool = False, words: tuple[str, ...] = (" a", " b")
) -> tuple[tuple[str, ...], tuple[SpanMark, ...]]:
    """Return tokens and spans of a prompt: a beginning, demonstrations of so many tokens and a query."""
    tokens = ["<|im_start|>", "user", "\n"] if chat else ["<s>"]
    spans = [SpanMark("turn head" if chat else "begin", 0, len(tokens))]

    def add(name: Any, texts: list[str], number: int | None = None) -> None:
        spans.append(SpanMark(name, len(tokens), len(tokens) + len(texts), number))
        tokens.extend(texts)

    for number in range(demonstrations):
        add("demonstration input", [words[place % len(words)] for place in range(each)], number)
        add("demonstration label", [LABELS[number % 2]], number)
        add("separator", ["\n\n"], number)
    add("query", [words[place % len(words)] for place in range(query)])
    if chat:
        add("turn tail", ["<|im_end|>", "\n", "assistant"])
    return tuple(tokens), tuple(spans)


def made_rows(
    demonstrations: int = 2,
    each: int = 3,
    query: int = 4,
    *,
    layers: tuple[int, ...] = (0, 2),
    heads: int = 3,
    last: int | None = None,
    kind: Kind = "pattern",
    setting: str = "icl",
    seed: int = 0,
    window: int | None = None,
    chat: bool = False,
    words: tuple[str, ...] = (" a", " b"),
) -> AttentionRows:
    """Return causal attention of a made prompt: the last rows alone, or behind a sliding window, where asked for."""
    tokens, spans = made_prompt(demonstrations, each, query, chat=chat, words=words)
    length = len(tokens)
    first = 0 if last is None else length - last
    distance = np.arange(length)[:, None] - np.arange(length)[None]
    seen = (distance >= 0) & (distance < (window or length))
    scores = 2 * np.random.default_rng(seed).normal(size=(len(layers), heads, length, length))
    shares = np.where(seen, np.exp(scores), 0)
    values = np.where(seen, scores, 0) if kind == "scores" else shares / shares.sum(axis=-1, keepdims=True)
    row_spans = tuple(
        SpanMark(span.name, max(0, span.start - first), span.stop - first, span.demonstration)
        for span in spans
        if span.stop > first
    )
    return AttentionRows(
        values[:, :, first:],
        np.broadcast_to(seen[first:], (len(layers), 1, length - first, length)),
        layers,
        tuple(range(heads)),
        tokens[first:],
        tokens,
        row_spans,
        spans,
        kind,
        setting,
    )
