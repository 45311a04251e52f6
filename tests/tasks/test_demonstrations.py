"""Demonstrations are drawn without replacement, reproducibly, in one order; held-out records are others."""

from __future__ import annotations

from collections import Counter

import pytest

from iclprobe.errors import UserError
from iclprobe.tasks.demonstrations import choose_queries, draw_demonstrations, held_out_records
from iclprobe.tasks.task import Record, Task, Template


def task(labels: list[int], classes: int = 3) -> Task:
    records = tuple(Record({"text": f"record {index}"}, label) for index, label in enumerate(labels))
    words = tuple(f"word{label}" for label in range(classes))
    return Task("made", words, records, records, Template("t", "{text}:", words, "\n"), "made")


MANY = task([index % 3 for index in range(60)])


def test_a_draw_is_reproducible_and_depends_on_the_seed() -> None:
    assert draw_demonstrations(MANY, 8, 0) == draw_demonstrations(MANY, 8, 0)
    assert draw_demonstrations(MANY, 8, 0) != draw_demonstrations(MANY, 8, 1)


@pytest.mark.parametrize("balanced", [False, True])
def test_no_record_is_drawn_twice_and_all_can_be_drawn(balanced: bool) -> None:
    for shots in (1, 7, 60):
        drawn = draw_demonstrations(MANY, shots, 3, balanced=balanced)
        assert len(drawn) == len(set(drawn)) == shots
        assert set(drawn) <= set(MANY.train)


def test_fewer_shots_are_the_beginning_of_more_shots() -> None:
    assert draw_demonstrations(MANY, 4, 5) == draw_demonstrations(MANY, 16, 5)[:4]


@pytest.mark.parametrize("balanced", [False, True])
def test_an_order_permutes_the_drawn_records_and_changes_none(balanced: bool) -> None:
    drawn = draw_demonstrations(MANY, 10, 0, balanced=balanced)
    orders = [draw_demonstrations(MANY, 10, 0, balanced=balanced, order=order) for order in range(5)]
    assert all(Counter(ordered) == Counter(drawn) for ordered in orders)
    assert len({*orders, drawn}) > 4
    assert orders[2] == draw_demonstrations(MANY, 10, 0, balanced=balanced, order=2)


@pytest.mark.parametrize("shots", [1, 2, 3, 7, 8, 30])
def test_a_balanced_draw_takes_evenly_from_every_label(shots: int) -> None:
    for seed in range(5):
        counts = Counter(record.label for record in draw_demonstrations(MANY, shots, seed, balanced=True))
        shares = [counts[label] for label in range(3)]
        assert sum(shares) == shots
        assert max(shares) - min(shares) <= 1


def test_a_balanced_draw_fills_up_where_a_label_has_too_few_records() -> None:
    scarce = task([0] * 10 + [1] * 10 + [2] * 1)
    counts = Counter(record.label for record in draw_demonstrations(scarce, 9, 0, balanced=True))
    assert counts == {0: 4, 1: 4, 2: 1}


def test_a_balanced_draw_gives_the_record_more_to_a_different_label_and_mixes_the_labels() -> None:
    draws = [draw_demonstrations(MANY, 4, seed, balanced=True) for seed in range(30)]
    assert {Counter(record.label for record in drawn).most_common(1)[0][0] for drawn in draws} == {0, 1, 2}
    assert len({tuple(record.label for record in drawn) for drawn in draws}) > 10


def test_an_unbalanced_draw_is_not_balanced_on_purpose() -> None:
    counts = [Counter(record.label for record in draw_demonstrations(MANY, 9, seed)) for seed in range(20)]
    assert any(max(count.values()) >= 5 for count in counts)


@pytest.mark.parametrize(
    ("shots", "message"), [(0, "draw 0"), (-1, "draw -1"), (61, "60 training records and 61")]
)
def test_impossible_numbers_of_shots_are_refused(shots: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw_demonstrations(MANY, shots, 0)


def test_held_out_records_are_training_records_with_other_texts() -> None:
    used = draw_demonstrations(MANY, 20, 0)
    held_out = held_out_records(MANY, used, 15, 0)
    assert len(held_out) == len(set(held_out)) == 15
    assert not {record.texts for record in used} & {record.texts for record in held_out}
    assert held_out == held_out_records(MANY, used, 15, 0)
    assert held_out != held_out_records(MANY, used, 15, 1)


def test_a_text_that_is_shown_is_never_held_out_whatever_its_label() -> None:
    twice = Record({"text": "twice"}, 0)
    base = task([0, 1, 2])
    pool = Task(
        "made",
        base.label_names,
        (twice, Record(twice.fields, 1), base.train[2]),
        base.train,
        base.template,
        "",
    )
    assert held_out_records(pool, (twice,), 5, 0) == (base.train[2],)


def test_holding_out_needs_a_record_that_is_not_shown() -> None:
    few = task([0, 1, 2])
    assert len(held_out_records(few, few.train[:1], 64, 0)) == 2
    with pytest.raises(UserError, match="besides its 3 demonstrations"):
        held_out_records(few, few.train, 1, 0)
    with pytest.raises(UserError, match="hold out 0"):
        held_out_records(few, (), 0, 0)


def test_queries_are_all_in_file_order_or_a_seeded_sample_in_file_order() -> None:
    assert choose_queries(MANY) == tuple(range(60)) == choose_queries(MANY, 100)
    sample = choose_queries(MANY, 10)
    assert len(sample) == 10
    assert list(sample) == sorted(set(sample))
    assert sample == choose_queries(MANY, 10) != choose_queries(MANY, 10, seed=2)
    by_label = task([0] * 50 + [1] * 50 + [2] * 50)
    assert {by_label.validation[index].label for index in choose_queries(by_label, 30)} == {0, 1, 2}
    with pytest.raises(UserError, match="0"):
        choose_queries(MANY, 0)


def test_a_seed_draws_what_it_has_always_drawn() -> None:
    """Whoever repeats a run that was written down with its seed asks the same records."""

    def numbers(records: tuple[Record, ...]) -> list[int]:
        return [int(record.fields["text"].split()[1]) for record in records]

    assert numbers(draw_demonstrations(MANY, 5, 0)) == [17, 10, 35, 43, 57]
    assert numbers(draw_demonstrations(MANY, 5, 0, order=1)) == [17, 35, 43, 10, 57]
    assert numbers(draw_demonstrations(MANY, 5, 0, balanced=True)) == [17, 35, 57, 3, 10]
    assert numbers(held_out_records(MANY, (), 4, 0)) == [4, 50, 54, 59]
    assert choose_queries(MANY, 6) == choose_queries(MANY, 6, seed=1) == (1, 24, 31, 48, 50, 53)
