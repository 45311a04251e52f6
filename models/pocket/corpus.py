"""The training corpus: prose in pocket English, mixed with documents that list labelled items.

A document labels its items along one axis (tone, topic, or whether a claim fits its premise) with label words
that are natural, flipped or arbitrary, so that what a label word means must be read from the items before it.
Some pairings of axis and label words are held out: they never occur, and the tasks that use them can only be
solved from demonstrations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ...seeds import derive_seed
from ...tasks.pocket_language import (
    BEGIN,
    DRAW_RANGE,
    END,
    LABEL_WORDS,
    NATURAL_CLAIM_WORDS,
    NATURAL_TONE_WORDS,
    NEWLINE,
    TONES,
    TOPICS,
    VOCABULARY,
    compose,
    compose_mention,
    compose_prose,
)

HELD_OUT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "tone": frozenset({"foo", "bar"}),
        "topic": frozenset({"zig", "zag", "wug", "dax", "fep"}),
        "claim": frozenset(),
        "glossary": frozenset({"foo", "bar", "zig", "zag", "wug", "dax", "fep"}),
    }
)
"""Axis to the label words that never label it anywhere in the corpus."""

NATURAL: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "tone": frozenset(word for words in NATURAL_TONE_WORDS for word in words),
        "topic": frozenset(TOPICS),
        "claim": frozenset(word for words in NATURAL_CLAIM_WORDS for word in words),
    }
)
"""Axis to the label words that name its classes in ordinary English."""

ARBITRARY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        axis: tuple(word for word in LABEL_WORDS if word not in HELD_OUT[axis] | NATURAL[axis])
        for axis in NATURAL
    }
)
"""Axis to the label words that mean nothing for it and may label it in the corpus."""

GLOSSARY_LABEL_WORDS = tuple(word for word in LABEL_WORDS if word not in HELD_OUT["glossary"])

PROSE_SHARE, GLOSSARY_SHARE = 0.08, 0.12
AXIS_SHARES = (("tone", 0.48), ("topic", 0.44), ("claim", 0.08))
NATURAL_SHARE, FLIPPED_SHARE = 0.25, 0.15
WORD_ITEM_SHARE, PHRASE_ITEM_SHARE = 0.4, 0.2
SEPARATORS, SEPARATOR_SHARES = (NEWLINE, END, ";"), (0.8, 0.1, 0.1)
SINGLE_FORMATS = (
    *(("Sentence:", "Label:"), ("Sentence:", "Label:"), ("Review:", "Sentiment:"), ("Text:", "Class:")),
    *(("Input:", "Output:"), ("", "=>"), ("", ""), ("", "")),
)
PAIR_FORMATS = (("Premise:", "Claim:", "Answer:"), ("First:", "Second:", "Label:"))

_IDS = {token: index for index, token in enumerate(VOCABULARY)}


@dataclass(frozen=True)
class Document:
    """One document of the corpus.

    Attributes:
        words: Its tokens as words, begin-of-sequence first.
        axis: What its labels are about (``tone``, ``topic``, ``claim``, or ``glossary``), or None for prose.
        label_words: The label words of its classes, empty for prose.
    """

    words: tuple[str, ...]
    axis: str | None
    label_words: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check that prose has no label words and that labelled documents have distinct ones."""
        if (self.axis is None) != (not self.label_words):
            raise ValueError("exactly the documents with an axis have label words")
        if len(set(self.label_words)) != len(self.label_words):
            raise ValueError(f"label words repeat: {self.label_words}")


def draw_document(generator: np.random.Generator, length: int) -> Document:
    """Draw one document of exactly `length` tokens (cut off in the middle of an item where it ends)."""
    kind = generator.random()
    if kind < PROSE_SHARE:
        return Document(_prose(generator, length), None, ())
    if kind < PROSE_SHARE + GLOSSARY_SHARE:
        return _glossary(generator, length)
    axis = _pick(generator, [name for name, _ in AXIS_SHARES], [share for _, share in AXIS_SHARES])
    classes = _draw_classes(generator, axis)
    label_words = _draw_label_words(generator, axis, classes)
    return Document(_labelled(generator, axis, classes, label_words, length), axis, label_words)


def token_batch(seed: int, step: int, rows: int, length: int) -> np.ndarray:
    """Return the training batch of one step, the same for the same arguments.

    Returns:
        Token ids, int64 of shape ``[rows, length]``, one document a row.
    """
    generator = np.random.default_rng(derive_seed("pocket-corpus", seed, step))
    documents = [draw_document(generator, length) for _ in range(rows)]
    return np.array([[_IDS[word] for word in document.words] for document in documents], dtype=np.int64)


def _pick(generator: np.random.Generator, options: Sequence[str], shares: Sequence[float]) -> str:
    edges = np.cumsum(shares)
    return options[min(int(np.searchsorted(edges, generator.random() * edges[-1])), len(options) - 1)]


def _draw_classes(generator: np.random.Generator, axis: str) -> tuple[str, ...]:
    if axis == "claim":
        return ("fails", "holds")
    if axis == "tone":
        return ("negative", "positive") if generator.random() < 0.75 else tuple(TONES)
    count = int(generator.choice([2, 2, 2, 3, 4, 5]))
    names = list(TOPICS)
    return tuple(names[index] for index in generator.permutation(len(names))[:count])


def _draw_label_words(generator: np.random.Generator, axis: str, classes: Sequence[str]) -> tuple[str, ...]:
    kind = generator.random()
    if kind >= NATURAL_SHARE + FLIPPED_SHARE:
        pool = ARBITRARY[axis]
        return tuple(pool[index] for index in generator.permutation(len(pool))[: len(classes)])
    natural: list[str] = list(classes)
    if axis == "tone":
        names = NATURAL_TONE_WORDS[int(generator.integers(len(NATURAL_TONE_WORDS)))]
        natural = [dict(zip(TONES, names, strict=True))[name] for name in classes]
    elif axis == "claim":
        natural = list(NATURAL_CLAIM_WORDS[int(generator.integers(len(NATURAL_CLAIM_WORDS)))])
    if kind < NATURAL_SHARE:
        return tuple(natural)
    shift = int(generator.integers(1, len(classes)))
    return (*natural[shift:], *natural[:shift])


def _vary(generator: np.random.Generator, words: Sequence[str]) -> list[str]:
    """Keep a random part of the words, so that some documents repeat a few words and others many."""
    kept = int(generator.choice([1, 1, 2, 3, len(words)]))
    return [words[int(index)] for index in generator.permutation(len(words))[:kept]]


def _labelled(
    generator: np.random.Generator, axis: str, classes: Sequence[str], label_words: Sequence[str], length: int
) -> tuple[str, ...]:
    separator = _pick(generator, SEPARATORS, SEPARATOR_SHARES)
    formats: tuple[tuple[str, ...], ...] = PAIR_FORMATS if axis == "claim" else SINGLE_FORMATS
    markers = formats[int(generator.integers(len(formats)))]
    nouns = [noun for topic in TOPICS.values() for noun in topic]
    adjectives = [adjective for tone in TONES.values() for adjective in tone]
    nouns_of: list[Sequence[str]] = [nouns] * len(classes)
    adjectives_of: list[Sequence[str]] = [adjectives] * len(classes)
    if axis == "topic":
        nouns_of = [_vary(generator, TOPICS[name]) for name in classes]
    elif axis == "tone":
        adjectives_of = [_vary(generator, TONES[name]) for name in classes]
    size = 1.0 if axis == "claim" else generator.random()
    items = length // 3 + 1
    labels = generator.integers(len(classes), size=items).tolist()
    picks = generator.integers(DRAW_RANGE * DRAW_RANGE, size=(items, 3)).tolist()
    draws = generator.integers(DRAW_RANGE, size=(items, 5)).tolist()
    words = [BEGIN]
    for label, (noun_pick, adjective_pick, other_pick), free in zip(labels, picks, draws, strict=True):
        noun = nouns_of[label][noun_pick % len(nouns_of[label])]
        adjective = adjectives_of[label][adjective_pick % len(adjectives_of[label])]
        sentence = compose(noun, adjective, free[:2])
        if size < WORD_ITEM_SHARE:
            sentence = (noun if axis == "topic" else adjective,)
        elif size < WORD_ITEM_SHARE + PHRASE_ITEM_SHARE:
            sentence = (adjective, noun)
        if axis == "claim":
            others = [other for other in nouns if other != noun]
            mentioned = noun if classes[label] == "holds" else others[other_pick % len(others)]
            claim = compose_mention(mentioned, free[2:])
            words += [markers[0], *sentence, markers[1], *claim, markers[-1]]
        else:
            words += [word for word in (markers[0], *sentence, markers[1]) if word]
        words += [label_words[label], separator]
        if len(words) >= length:
            break
    return tuple(words[:length])


def _glossary(generator: np.random.Generator, length: int) -> Document:
    """Draw a document that gives single words a label each, again and again: the shortest lesson in looking back."""
    count = int(generator.integers(3, 11))
    content = [word for words in (*TOPICS.values(), *TONES.values()) for word in words]
    entries = [content[index] for index in generator.permutation(len(content))[:count]]
    label_words = tuple(
        GLOSSARY_LABEL_WORDS[index] for index in generator.permutation(len(GLOSSARY_LABEL_WORDS))[:count]
    )
    markers = SINGLE_FORMATS[int(generator.integers(len(SINGLE_FORMATS)))]
    separator = _pick(generator, SEPARATORS, SEPARATOR_SHARES)
    words = [BEGIN]
    for entry in generator.integers(count, size=length // 3 + 1).tolist():
        item = (markers[0], entries[entry], markers[1], label_words[entry], separator)
        words += [word for word in item if word]
    return Document(tuple(words[:length]), "glossary", label_words)


def _prose(generator: np.random.Generator, length: int) -> tuple[str, ...]:
    words = [BEGIN]
    while len(words) < length:
        topic, tone = int(generator.integers(len(TOPICS))), int(generator.integers(len(TONES)))
        nouns, adjectives = list(TOPICS.values())[topic], list(TONES.values())[tone]
        sentences = int(generator.integers(4, 10))
        picks = generator.integers(DRAW_RANGE, size=(sentences, 6)).tolist()
        for noun_pick, adjective_pick, *free in picks:
            noun, adjective = nouns[noun_pick % len(nouns)], adjectives[adjective_pick % len(adjectives)]
            words += [*compose_prose(noun, adjective, free), "."]
        words.append(END)
    return tuple(words[:length])
