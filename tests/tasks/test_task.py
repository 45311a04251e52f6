"""Records, templates and tasks refuse what cannot be asked."""

from __future__ import annotations

import pickle

import pytest

from iclprobe.errors import UserError
from iclprobe.tasks.task import Record, Task, Template

TEMPLATE = Template("t", "Review: {text} Sentiment:", ("bad", "good"), "\n")
RECORDS = (Record({"text": "dull"}, 0), Record({"text": "fine"}, 1))


def task(**changes: object) -> Task:
    parts: dict[str, object] = {
        "name": "reviews",
        "label_names": ("negative", "positive"),
        "train": RECORDS,
        "validation": RECORDS,
        "template": TEMPLATE,
        "source": "here",
    }
    return Task(**(parts | changes))  # pyright: ignore[reportArgumentType]


def test_a_template_renders_the_record_and_then_the_label() -> None:
    record = Record({"text": "a {curly} film", "other": "unused"}, 1)
    assert TEMPLATE.render(record) + TEMPLATE.label_text(1) == "Review: a {curly} film Sentiment: good"
    assert TEMPLATE.fields == ("text",)


def test_fields_are_named_once_in_the_order_of_their_first_use() -> None:
    template = Template("t", "{b} {a} {b} {{literal}}", ("x", "y"), "\n")
    assert template.fields == ("b", "a")
    assert template.render(Record({"a": "1", "b": "2"}, 0)) == "2 1 2 {literal}"


def test_records_are_read_only_hashable_and_can_be_pickled() -> None:
    record = Record({"b": "2", "a": "1"}, 1)
    with pytest.raises(TypeError):
        record.fields["a"] = "3"  # pyright: ignore[reportIndexIssue]
    assert record == Record({"a": "1", "b": "2"}, 1)
    assert len({record, Record({"a": "1", "b": "2"}, 1), Record({"a": "1", "b": "2"}, 0)}) == 2
    assert pickle.loads(pickle.dumps(record)) == record
    assert record.texts == (("a", "1"), ("b", "2"))


@pytest.mark.parametrize(
    ("query", "words", "message"),
    [
        ("no field", ("a", "b"), "names no field"),
        ("{text", ("a", "b"), "cannot be read"),
        ("{0} {text}", ("a", "b"), r"field \{0\}"),
        ("{text.upper}", ("a", "b"), r"field \{text.upper\}"),
        ("{text}", ("a", " "), "label 1 is empty"),
        ("{text!r}:", ("a", "b"), r"has \{text!r\}: .*, so write \{text\}"),
        ("{text:>9}:", ("a", "b"), r"has \{text:>9\}: .*, so write \{text\}"),
        ("{text} {Label}:", ("a", "b"), r"names \{Label\}, which would show the model the right answer"),
    ],
)
def test_templates_that_cannot_be_filled_are_refused(
    query: str, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Template("t", query, words, "\n")


def test_a_record_without_the_field_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="needs the field 'text', and a record has sentence"):
        task(train=(Record({"sentence": "dull"}, 0),))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": ()}, r"no train records \(source: here\)"),
        ({"validation": ()}, "no validation records"),
        ({"label_names": ("a", "b", "c")}, r"3 labels \(a, b, c\) and 2 label words \(bad, good\)"),
        ({"label_names": ("a",), "template": Template("t", "{text}", ("x",), "")}, "at least two"),
        ({"train": (Record({"text": "dull"}, 2),)}, "train record with the label 2"),
    ],
)
def test_tasks_that_cannot_be_asked_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        task(**changes)


def test_a_label_without_a_word_is_refused() -> None:
    with pytest.raises(UserError, match=r"no label word for the label 2: the template has 2 \(bad, good\)"):
        TEMPLATE.label_text(2)


def test_a_negative_label_is_refused() -> None:
    with pytest.raises(UserError, match="-1"):
        Record({"text": "dull"}, -1)


def test_the_digest_changes_with_the_records_and_the_template_and_not_with_the_names() -> None:
    digest = task().digest()
    assert digest == task(name="other", source="there").digest()
    assert digest != task(train=RECORDS[::-1]).digest()
    assert digest != task(template=Template("t", "{text}", ("bad", "good"), "\n")).digest()
