"""Spans say what every token of a prompt is, for every template and tokenizer, in a chat as well."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from shared_material import TOKENIZERS, real_model, shared_tokenizer

from iclprobe.errors import UserError
from iclprobe.models.pocket.tokenizer import build_tokenizer
from iclprobe.tasks.catalogue import task_entry, task_names
from iclprobe.tasks.prompt_set import PromptSet, TaskPrompts
from iclprobe.tasks.prompts import build_prompts
from iclprobe.tasks.spans import Span
from iclprobe.tasks.task import Record, Template

REAL = ("smollm2-135m-instruct", "gemma3-270m")


@cache
def tokenizer_of(name: str) -> Any:
    if name in REAL:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(real_model(name))
    return build_tokenizer() if name == "pocket" else shared_tokenizer(name)


def templates() -> list[tuple[str, str]]:
    return [(task, name) for task in task_names() for name in task_entry(task).variants]


def cases() -> list[Any]:
    """Every template with every tokenizer; the embedded model's knows the words of its own tasks alone."""
    return [
        pytest.param(task, name, own, marks=[pytest.mark.real] if own in REAL else [])
        for task, name in templates()
        for own in (*TOKENIZERS, "pocket", *REAL)
        if own != "pocket" or task.startswith("pocket")
    ]


def records(task: str, template: Template, count: int) -> list[Record]:
    """Records with every field of a template filled, labels in turn."""
    rng = random.Random(task)
    words = ("good", "old films", "a bad day", "it rained", "Yes!", "1 of 3")
    return [
        Record(
            {field: " ".join(rng.sample(words, 3)) for field in template.fields},
            index % len(template.label_words),
        )
        for index in range(count)
    ]


def assert_tiled(prompts: TaskPrompts) -> None:
    """Every token is in one span, and the spans hold what the pieces of the prompts hold."""
    for setting in (prompts.zero_shot, prompts.icl):
        for index in range(setting.n):
            ids, spans = setting.full_ids(index), setting.spans(index)
            assert [token for span in spans for token in span.tokens] == list(range(len(ids)))
            told = {
                name: [ids[s.start : s.stop] for s in spans if s.name == name]
                for name in {s.name for s in spans}
            }
            query = setting.query_ids[index]
            tail = prompts.tail_ids
            assert told["query"] == [query[: len(query) - len(tail)]]
            assert told.get("turn_tail", []) == ([tail] if tail else [])
            front = prompts.zero_shot.prefix_ids
            assert sum(told.get("begin", []) + told.get("turn_head", []), ()) == front
            shown = prompts.shown if setting is prompts.icl else ()
            assert told.get("demonstration_input", []) == [each.input_ids for each in shown]
            assert told.get("demonstration_label", []) == [each.label_ids for each in shown]
            assert told.get("separator", []) == [each.separator_ids for each in shown if each.separator_ids]
            labels = [span for span in spans if span.name == "demonstration_label"]
            assert [(span.demonstration, span.label) for span in labels] == [
                (number, each.label) for number, each in enumerate(shown)
            ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("task", "name", "tokenizer"), cases())
def test_spans_reassemble_the_prompts_of_every_template(task: str, name: str, tokenizer: str) -> None:
    template, made = task_entry(task).template(name), records(task, task_entry(task).template(name), 5)
    assert_tiled(build_prompts(tokenizer_of(tokenizer), template, made[:3], made[3:], None))


@pytest.mark.real
@pytest.mark.parametrize(("task", "name"), templates())
def test_spans_reassemble_a_turn_of_a_chat(task: str, name: str) -> None:
    template = replace(task_entry(task).template(name), chat_template="user_turn")
    made = records(task, template, 5)
    prompts = build_prompts(tokenizer_of("smollm2-135m-instruct"), template, made[:3], made[3:], None)
    assert prompts.tail_ids
    assert_tiled(prompts)


def test_without_spans_a_prefix_is_context_and_a_query_is_the_query() -> None:
    prompts = PromptSet((1, 5, 6), ((7, 8), (9,)), bos_length=1)
    assert prompts.spans(0) == (Span("begin", 0, 1), Span("context", 1, 3), Span("query", 3, 5))
    assert prompts.spans(1)[-1] == Span("query", 3, 4)


def test_spans_that_lie_nowhere_are_refused() -> None:
    with pytest.raises(UserError, match="holds no token"):
        Span("query", 2, 2)
    with pytest.raises(UserError, match=r"'subject' ends at token 3 and query 0 has 2"):
        PromptSet((), ((7, 8),), query_spans=((Span("subject", 0, 3),),))
    with pytest.raises(UserError, match="the prefix has 1"):
        PromptSet((1,), ((7, 8),), prefix_spans=(Span("context", 0, 2),))
    with pytest.raises(UserError, match="2 queries have spans for 1"):
        PromptSet((), ((7,), (8,)), query_spans=((Span("query", 0, 1),),))
