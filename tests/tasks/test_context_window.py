"""The context window: which demonstrations are shown, which queries are asked, which records are left out."""

from __future__ import annotations

import pytest
from made_tokenizers import word_tokenizer
from shared_material import shared, shared_tokenizer

from iclprobe.errors import UserError
from iclprobe.tasks.catalogue import load_task
from iclprobe.tasks.demonstrations import draw_demonstrations
from iclprobe.tasks.prompts import build_prompts, shown_demonstrations, training_sequences
from iclprobe.tasks.record_length import filter_long_records
from iclprobe.tasks.task import Record, Task, Template

WORDS = "one two three four five six seven eight nine ten : is good bad very\n"
COUNTING = Template("t", "{text}:", ("bad", "good"), "\n", label_prefix="")


def records(*texts: str, labels: tuple[int, ...] | None = None) -> tuple[Record, ...]:
    return tuple(
        Record({"text": text}, labels[index] if labels else index % 2) for index, text in enumerate(texts)
    )


# COUNTING on `word_tokenizer(WORDS)`: "one" is 2 tokens with its colon, its label 1, the separator 1. With
# begin-of-sequence the longest query sequence below is 1 + 2 + 1 = 4, and each demonstration takes 4.


@pytest.mark.parametrize(
    ("context_length", "used"),
    [(None, 3), (100, 3), (18, 3), (17, 2), (14, 2), (13, 1), (10, 1)],
)
def test_demonstrations_are_added_while_the_total_stays_below_the_context(
    context_length: int | None, used: int
) -> None:
    """With u demonstrations the reference counts 1 + 4u + 4 tokens; that must be less than the context."""
    tokenizer = word_tokenizer(WORDS, front=("<s>",))
    prompts = build_prompts(
        tokenizer, COUNTING, records("one", "two", "three"), records("four", "five"), context_length
    )
    assert prompts.demonstrations_used == used
    assert len(prompts.icl.prefix_ids) == 1 + 4 * used
    assert len(prompts.training) == used
    if context_length is not None:
        assert prompts.icl.longest < context_length


def test_the_first_demonstration_that_does_not_fit_ends_the_prompt_even_if_a_later_one_would_fit() -> None:
    tokenizer = word_tokenizer(WORDS, front=("<s>",))
    long = "one two three four five six"
    prompts = build_prompts(tokenizer, COUNTING, records("one", long, "two"), records("four"), 20)
    assert prompts.demonstrations_used == len(prompts.shown) == 1
    assert prompts.demonstrations_asked == 3


def test_the_longest_query_with_its_longest_label_decides() -> None:
    tokenizer = word_tokenizer(WORDS)
    template = Template("t", "{text}:", ("bad", "very very good"), "\n", label_prefix="")
    demonstrations = records("one", "two", labels=(0, 0))
    short = build_prompts(tokenizer, template, demonstrations, records("three"), 16)
    assert short.icl.longest == 8 + 2 + 5
    assert short.demonstrations_used == 2
    longer = build_prompts(tokenizer, template, demonstrations, records("three", "three four"), 16)
    assert longer.demonstrations_used == 1


def test_finetuning_takes_the_demonstrations_that_are_shown_unless_told_otherwise() -> None:
    tokenizer = word_tokenizer(WORDS, front=("<s>",))
    demonstrations = records("one", "two", "three")
    matched = build_prompts(tokenizer, COUNTING, demonstrations, records("four"), 13)
    everything = build_prompts(
        tokenizer, COUNTING, demonstrations, records("four"), 13, match_demonstrations=False
    )
    assert matched.demonstrations_used == everything.demonstrations_used == 1
    assert len(matched.training) == 1
    assert len(everything.training) == 3
    assert everything.training[:1] == matched.training


def test_a_demonstration_too_long_to_finetune_on_is_refused() -> None:
    tokenizer = word_tokenizer(WORDS, front=("<s>",))
    long = " ".join(["one"] * 10)
    with pytest.raises(UserError, match="Demonstration 1 has 22 tokens"):
        build_prompts(
            tokenizer, COUNTING, records("one", long), records("four"), 13, match_demonstrations=False
        )


def test_a_demonstration_that_fills_the_context_may_be_finetuned_on() -> None:
    tokenizer = word_tokenizer(WORDS, front=("<s>",))
    long = " ".join(["one"] * 10)
    prompts = build_prompts(
        tokenizer, COUNTING, records("one", long), records("four"), 22, match_demonstrations=False
    )
    assert [len(sequence.ids) for sequence in prompts.training] == [4, 22]
    # Behind it no query fits: it is not shown, and nothing says so but the count.
    assert len(prompts.shown) == prompts.demonstrations_used == 1


@pytest.mark.parametrize(("context_length", "kept"), [(None, 3), (6, 3), (5, 2), (4, 1)])
def test_records_are_finetuned_on_that_fit_with_their_label(context_length: int | None, kept: int) -> None:
    tokenizer = word_tokenizer(WORDS, front=("<s>",))
    template = Template("t", "{text}:", ("bad", "very good"), "\n", label_prefix="")
    # "one:" is 2 tokens and ":one:" 3, "bad" is 1 and "very good" 3; begin of sequence is one more.
    asked = records("one", "one", "one", labels=(0, 1, 0))
    lengths = [len(each.ids) for each in training_sequences(tokenizer, template, asked, None)]
    assert lengths == [4, 6, 4]
    longer = records("one", "one", ":one", labels=(0, 1, 0))
    fitting = training_sequences(tokenizer, template, longer, context_length)
    assert sorted(len(each.ids) for each in fitting) == [4, 5, 6][:kept]


def test_one_record_is_enough_and_none_that_fits_is_refused() -> None:
    tokenizer = word_tokenizer(WORDS, front=("<s>",))
    (only,) = training_sequences(tokenizer, COUNTING, records("one"), 4)
    assert len(only.ids) == 4 and len(shown_demonstrations(tokenizer, COUNTING, records("one"))) == 1
    with pytest.raises(UserError, match="None of 2 training records fits the context of 3 tokens"):
        training_sequences(tokenizer, COUNTING, records("one", "two"), 3)


def test_strict_shots_refuses_to_leave_out_a_demonstration() -> None:
    tokenizer = word_tokenizer(WORDS, front=("<s>",))
    demonstrations = records("one", "two", "three")
    build_prompts(tokenizer, COUNTING, demonstrations, records("four"), 18, strict_shots=True)
    with pytest.raises(UserError, match="Only 2 of 3 demonstrations fit the context of 17 tokens"):
        build_prompts(tokenizer, COUNTING, demonstrations, records("four"), 17, strict_shots=True)


def test_queries_too_long_on_their_own_are_skipped_and_counted() -> None:
    tokenizer = word_tokenizer(WORDS, front=("<s>",))
    queries = records("one", " ".join(["two"] * 8), "three", " ".join(["four"] * 7), labels=(0, 1, 1, 0))
    prompts = build_prompts(tokenizer, COUNTING, (), queries, 16)
    assert prompts.query_indices == (0, 2, 3)
    assert prompts.queries_skipped == 1
    assert prompts.zero_shot.gold == (0, 1, 0)
    assert prompts.zero_shot.longest == 16


def test_no_usable_query_and_no_fitting_demonstration_are_refused() -> None:
    tokenizer = word_tokenizer(WORDS, front=("<s>",))
    with pytest.raises(
        UserError, match="None of the 2 queries fits the context of 3 tokens: the shortest takes 4"
    ):
        build_prompts(tokenizer, COUNTING, records("one"), records("two", "three four"), 3)
    with pytest.raises(UserError, match="No demonstration fits: the first has 4 tokens, the longest query 4"):
        build_prompts(tokenizer, COUNTING, records("one", ":one"), records("two"), 9)
    with pytest.raises(UserError, match="no query to ask"):
        build_prompts(tokenizer, COUNTING, records("one"), (), 9)


def test_without_demonstrations_both_settings_are_zero_shot() -> None:
    prompts = build_prompts(word_tokenizer(WORDS, front=("<s>",)), COUNTING, (), records("one"), 9)
    assert prompts.icl == prompts.zero_shot
    assert (prompts.training, prompts.demonstrations_used) == ((), 0)


def test_long_records_are_left_out_of_both_pools_and_counted() -> None:
    pools = (records("one", "two three", "four five six"), records("one two three", "four"))
    task = Task("made", ("bad", "good"), *pools, COUNTING, "made")
    short, train_removed, validation_removed = filter_long_records(task, word_tokenizer(WORDS), 4)
    assert [record.fields["text"] for record in short.train] == ["one", "two three"]
    assert [record.fields["text"] for record in short.validation] == ["four"]
    assert (train_removed, validation_removed) == (1, 1)
    assert short.template is task.template
    with pytest.raises(
        UserError, match="No train record of task 'made' has 1 tokens or fewer: the shortest has 2"
    ):
        filter_long_records(task, word_tokenizer(WORDS), 1)
    with pytest.raises(UserError, match="at most 0 tokens"):
        filter_long_records(task, word_tokenizer(WORDS), 0)


@pytest.mark.parametrize(
    ("model", "context_length", "name", "shots", "limit"),
    [
        ("stories260k", 512, "sst2", 4, None),
        ("stories260k", 512, "mr", 4, None),
        ("babyllama-tok105", 256, "mr", 1, 110),
    ],
)
def test_real_records_use_at_least_one_demonstration_in_a_short_context(
    model: str, context_length: int, name: str, shots: int, limit: int | None
) -> None:
    tokenizer = shared_tokenizer(model)
    task = load_task(name, data=shared(f"data/{name}"))
    if limit is not None:
        task = filter_long_records(task, tokenizer, limit).task
    for seed in range(2):
        demonstrations = draw_demonstrations(task, shots, seed)
        prompts = build_prompts(
            tokenizer, task.template, demonstrations, task.validation[:200], context_length
        )
        assert prompts.demonstrations_used >= 1
        assert prompts.icl.longest < context_length
        assert prompts.icl.n + prompts.queries_skipped == 200
