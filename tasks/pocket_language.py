"""Pocket English: the closed vocabulary and the sentence grammar that the embedded model speaks.

Every sentence names one thing (its topic) and one quality (its tone), so that a sentence can be labelled by
either, and what a label word means has to be read from the labelled sentences around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

TOPICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "animal": ("dog", "cat", "horse", "bird", "fish", "mouse", "rabbit", "goat"),
        "food": ("soup", "bread", "cake", "rice", "cheese", "apple", "pie", "salad"),
        "music": ("song", "drum", "piano", "guitar", "flute", "violin", "band", "tune"),
        "weather": ("rain", "snow", "wind", "storm", "cloud", "sun", "fog", "frost"),
        "travel": ("train", "boat", "car", "road", "bridge", "plane", "bus", "ship"),
    }
)
"""Topic name to the nouns that belong to it."""

TONES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "negative": ("awful", "nasty", "poor", "dull", "broken", "sour"),
        "neutral": ("small", "old", "long", "round", "new", "usual"),
        "positive": ("great", "lovely", "fine", "sweet", "bright", "perfect"),
    }
)
"""Tone name to the adjectives that carry it."""

DETERMINERS = ("the", "my", "our", "that")
COPULAS = ("was", "is", "felt", "seemed")
ADVERBS = ("so", "very", "quite")
SUBJECTS = ("we", "they", "you", "she")
VERBS = ("saw", "found", "knew", "met")

NATURAL_TONE_WORDS = (("bad", "okay", "good"), ("negative", "neutral", "positive"))
"""Label words that mean a tone in ordinary English, in the order of `TONES`."""

NATURAL_CLAIM_WORDS = (("no", "yes"), ("false", "true"))
"""Label words that mean a claim fails or holds in ordinary English."""

NONSENSE_WORDS = ("foo", "bar", "zig", "zag", "wug", "dax", "fep", "blick", "tov", "kiki")
OTHER_LABEL_WORDS = ("A", "B", "C", "D", "E", "0", "1", "2", "3", "4", "red", "blue", "green", "gold", "grey")

LABEL_WORDS: tuple[str, ...] = (
    *TOPICS,
    *(word for words in NATURAL_TONE_WORDS for word in words),
    *(word for words in NATURAL_CLAIM_WORDS for word in words),
    *NONSENSE_WORDS,
    *OTHER_LABEL_WORDS,
)
"""Every word that labels anything anywhere in pocket English."""

MARKERS = (
    *("Sentence:", "Label:", "Review:", "Sentiment:", "Text:", "Class:", "Input:", "Output:", "=>"),
    *("Premise:", "Claim:", "Answer:", "First:", "Second:"),
)
NEWLINE = "\n"
PUNCTUATION = (NEWLINE, ";", ".")

PAD, BEGIN, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
SPECIAL_TOKENS = (PAD, BEGIN, END, UNKNOWN)

VOCABULARY: tuple[str, ...] = (
    *SPECIAL_TOKENS,
    *PUNCTUATION,
    *MARKERS,
    *DETERMINERS,
    *COPULAS,
    *ADVERBS,
    *SUBJECTS,
    *VERBS,
    *(noun for nouns in TOPICS.values() for noun in nouns),
    *(adjective for adjectives in TONES.values() for adjective in adjectives),
    *LABEL_WORDS,
)
"""All tokens; a token's id is its place here."""

DRAWS_PER_SENTENCE = 5
DRAW_RANGE = 840
"""Free choices a sentence takes, as integers below a common multiple of every number of alternatives."""


def compose(noun: str, adjective: str, draws: Sequence[int]) -> tuple[str, ...]:
    """Build one sentence of four or five words about a noun and an adjective.

    Args:
        noun: One of the nouns of `TOPICS`.
        adjective: One of the adjectives of `TONES`.
        draws: `DRAWS_PER_SENTENCE` integers in ``[0, DRAW_RANGE)`` that decide the free choices.

    Returns:
        The words, such as ``("the", "soup", "was", "very", "awful")`` or ``("we", "saw", "the", "awful", "soup")``.
    """
    form, first, second, third, fourth = draws
    determiner = DETERMINERS[first % 4]
    if form % 2:
        return (SUBJECTS[second % 4], VERBS[third % 4], determiner, adjective, noun)
    adverb = (ADVERBS[third % 3],) if fourth % 2 else ()
    return (determiner, noun, COPULAS[second % 4], *adverb, adjective)


def compose_claim(noun: str, draws: Sequence[int]) -> tuple[str, ...]:
    """Build a claim of four words that only mentions a noun, such as ``("we", "saw", "the", "soup")``.

    Args:
        noun: One of the nouns of `TOPICS`.
        draws: `DRAWS_PER_SENTENCE` integers in ``[0, DRAW_RANGE)`` that decide the free choices.
    """
    return (SUBJECTS[draws[0] % 4], VERBS[draws[1] % 4], DETERMINERS[draws[2] % 4], noun)
