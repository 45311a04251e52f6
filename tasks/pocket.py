"""The six pocket tasks: generated records in pocket English, so that everything runs with no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from ..errors import UserError, shown
from ..seeds import derive_seed
from .pocket_language import DRAW_RANGE, NEWLINE, TONES, TOPICS, compose, compose_mention
from .task import Record

TRAIN_RECORDS = 768
VALIDATION_RECORDS = 512

DEFAULT_POCKET_TASK = "pocket-topic-code"
"""The task of `iclprobe compare` without arguments: its label words never labelled its topics in training."""

POCKET_QUERY = "{text} =>"


@dataclass(frozen=True)
class PocketTask:
    """One generated task.

    Attributes:
        name: Name in the catalogue.
        axis: What the labels are about: ``tone``, ``topic`` or ``claim``.
        label_names: Classes in label order; for tone and topic the names in `TONES` and `TOPICS`.
        fields: Text fields of a record.
        query: Template text with the fields in braces.
        label_words: What the model is asked to say, in label order.
        separator: Literal text after each demonstration.
        description: One sentence for the list of tasks.
    """

    name: str
    axis: str
    label_names: tuple[str, ...]
    fields: tuple[str, ...]
    query: str
    label_words: tuple[str, ...]
    separator: str
    description: str

    def __post_init__(self) -> None:
        """Check that every label has its own word and that the query uses every field."""
        if len(self.label_names) != len(self.label_words) or len(set(self.label_words)) != len(
            self.label_words
        ):
            raise ValueError(f"{self.name} needs one distinct label word for each of {self.label_names}")
        if any("{" + field + "}" not in self.query for field in self.fields):
            raise ValueError(f"the query of {self.name} does not use every field of {self.fields}")


def _single(
    name: str, axis: str, label_names: tuple[str, ...], label_words: tuple[str, ...], text: str
) -> PocketTask:
    return PocketTask(name, axis, label_names, ("text",), POCKET_QUERY, label_words, NEWLINE, text)


POCKET_TASKS: Mapping[str, PocketTask] = MappingProxyType(
    {
        task.name: task
        for task in (
            _single(
                DEFAULT_POCKET_TASK,
                "topic",
                ("animal", "food", "music", "weather"),
                ("foo", "bar", "blick", "tov"),
                "Four topics in words that never labelled these topics in training: only demonstrations tell.",
            ),
            _single(
                "pocket-topic",
                "topic",
                ("animal", "food", "music", "weather", "travel"),
                ("animal", "food", "music", "weather", "travel"),
                "Five topics by their names.",
            ),
            _single(
                "pocket-tone",
                "tone",
                ("negative", "positive"),
                ("bad", "good"),
                "Good or bad, in the words that mean it.",
            ),
            _single(
                "pocket-tone3",
                "tone",
                ("negative", "neutral", "positive"),
                ("bad", "okay", "good"),
                "Good, plain or bad, in the words that mean it.",
            ),
            _single(
                "pocket-tone-code",
                "tone",
                ("negative", "positive"),
                ("foo", "bar"),
                "Good or bad, in two words that only ever labelled topics in training.",
            ),
            PocketTask(
                "pocket-claim",
                "claim",
                ("fails", "holds"),
                ("premise", "hypothesis"),
                "Premise: {premise} Claim: {hypothesis} Answer:",
                ("no", "yes"),
                NEWLINE,
                "Whether the second sentence mentions the thing the first one is about.",
            ),
        )
    }
)
"""Name to pocket task, the default one first."""


@cache
def pocket_records(name: str) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Generate the records of a pocket task, the same on every machine.

    Args:
        name: One of `POCKET_TASKS`.

    Returns:
        `TRAIN_RECORDS` train and `VALIDATION_RECORDS` validation records; no text occurs twice in both together.
    """
    if name not in POCKET_TASKS:
        raise UserError(f"There is no pocket task {shown(name)}: use one of {', '.join(POCKET_TASKS)}.")
    task = POCKET_TASKS[name]
    import numpy

    generator = numpy.random.default_rng(derive_seed("pocket-records", name))
    wanted = TRAIN_RECORDS + VALIDATION_RECORDS
    records: dict[tuple[str, ...], Record] = {}
    while len(records) < wanted:
        record = _draw_record(task, generator.integers(DRAW_RANGE * DRAW_RANGE, size=10).tolist())
        records.setdefault(tuple(record.fields.values()), record)
    drawn = tuple(records.values())
    return drawn[:TRAIN_RECORDS], drawn[TRAIN_RECORDS:]


def _draw_record(task: PocketTask, draws: list[int]) -> Record:
    label_draw, topic_draw, tone_draw, noun_draw, adjective_draw, other_draw, *free = draws
    label = label_draw % len(task.label_names)
    topic, tone = list(TOPICS)[topic_draw % len(TOPICS)], list(TONES)[tone_draw % len(TONES)]
    if task.axis == "topic":
        topic = task.label_names[label]
    elif task.axis == "tone":
        tone = task.label_names[label]
    noun = TOPICS[topic][noun_draw % len(TOPICS[topic])]
    text = " ".join(compose(noun, TONES[tone][adjective_draw % len(TONES[tone])], free[0]))
    if task.axis != "claim":
        return Record({"text": text}, label)
    others = [other for nouns in TOPICS.values() for other in nouns if other != noun]
    mentioned = noun if task.label_names[label] == "holds" else others[other_draw % len(others)]
    claim = " ".join(compose_mention(mentioned, free[1:]))
    return Record({"premise": text, "hypothesis": claim}, label)
