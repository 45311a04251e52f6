"""Prompt sets count, hash and refuse; training sequences need an input and a label."""

from __future__ import annotations

from typing import Any

import pytest

from iclprobe.errors import UserError
from iclprobe.tasks.prompt_set import PromptSet, TaskPrompts, TrainingSequence

PARTS: dict[str, Any] = {
    "prefix_ids": (1, 8, 9),
    "query_ids": ((3, 4), (5, 6, 7)),
    "label_ids": (((10,), (11, 12, 13)), ((10,), (11,))),
    "gold": (0, 1),
    "bos_length": 1,
}


def made(change: dict[str, Any] | None = None) -> PromptSet:
    return PromptSet(**{**PARTS, **(change or {})})


def test_counts_and_lengths() -> None:
    prompts = made()
    assert (prompts.n, prompts.n_options) == (2, 2)
    assert prompts.longest == 3 + max(2 + 3, 3 + 1)
    assert prompts.full_ids(1) == (1, 8, 9, 5, 6, 7)


def test_prompts_may_carry_no_labels_and_no_prefix() -> None:
    prompts = PromptSet((), ((3, 4), (5,)))
    assert (prompts.n, prompts.n_options, prompts.longest) == (2, 0, 2)


def test_lists_become_tuples() -> None:
    prompts = PromptSet([1], [[3, 4]], [[[5], [6]]], [1], 1)  # pyright: ignore[reportArgumentType]
    assert prompts == PromptSet((1,), ((3, 4),), (((5,), (6,)),), (1,), 1)
    assert hash(prompts) == hash(PromptSet((1,), ((3, 4),), (((5,), (6,)),), (1,), 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_ids": ()}, "at least one query"),
        ({"query_ids": ((3,), ())}, "Query 1 has no tokens"),
        ({"label_ids": PARTS["label_ids"][:1]}, "2 queries have label tokens for 1 and right options for 2"),
        ({"gold": ()}, "right options for 0"),
        ({"label_ids": ()}, "label tokens for 0"),
        ({"label_ids": (((10,), (11,)), ((10,),))}, "Query 1 has 1 label options and query 0 has 2"),
        ({"label_ids": (((10,), ()), ((10,), (11,)))}, "Query 0 has a label option without tokens"),
        ({"gold": (0, 2)}, "Query 1 has the right option 2 of 2"),
        ({"gold": (-1, 1)}, "Query 0 has the right option -1 of 2"),
        ({"bos_length": 2}, "bos_length is 2"),
        ({"prefix_ids": ()}, "prefix has 0 tokens"),
    ],
)
def test_prompts_that_do_not_fit_together_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(change)


def test_the_digest_changes_with_every_id_and_with_every_boundary() -> None:
    changes = [
        {},
        {"prefix_ids": (1, 8)},
        {"prefix_ids": (1, 8, 9, 3), "query_ids": ((4,), (5, 6, 7))},
        {"query_ids": ((3, 4), (5, 6, 8))},
        {"label_ids": (((10,), (11, 12, 13)), ((10,), (12,)))},
        {"bos_length": 0},
    ]
    digests = [made(change).digest() for change in changes]
    assert len(set(digests)) == len(digests)
    assert digests[0] == made().digest()
    assert len(digests[0]) == 64


@pytest.mark.parametrize("label_start", [0, 3, -1])
def test_a_training_sequence_has_an_input_and_a_label(label_start: int) -> None:
    assert TrainingSequence((1, 2, 3), 2).ids[2:] == (3,)
    with pytest.raises(UserError, match="at least one token of input and one of label"):
        TrainingSequence((1, 2, 3), label_start)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"icl": made({"query_ids": ((3, 4), (5, 6, 8))})}, "different queries"),
        ({"icl": made({"gold": (1, 1)})}, "different queries"),
        ({"icl": made({"prefix_ids": (2, 8, 9)})}, "begin differently"),
        ({"icl": made({"bos_length": 0})}, "begin differently"),
        ({"query_indices": (0,)}, "2 queries have 1 indices"),
        ({"demonstrations_used": 3}, "3 of 2 demonstrations"),
    ],
)
def test_settings_differ_in_the_demonstrations_and_in_nothing_else(
    change: dict[str, Any], message: str
) -> None:
    parts: dict[str, Any] = {
        "zero_shot": made({"prefix_ids": (1,)}),
        "icl": made(),
        "training": (),
        "demonstrations_used": 1,
        "demonstrations_asked": 2,
        "query_indices": (0, 1),
        "queries_skipped": 0,
        "separator_unknown": False,
    }
    assert TaskPrompts(**parts).icl.n == 2
    with pytest.raises(UserError, match=message):
        TaskPrompts(**(parts | change))
