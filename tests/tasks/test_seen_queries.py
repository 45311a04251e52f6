"""No query is asked that stands in the training records."""

from __future__ import annotations

import pytest

from iclprobe.errors import UserError
from iclprobe.tasks.catalogue import load_task, task_names
from iclprobe.tasks.seen_queries import without_seen_queries
from iclprobe.tasks.task import Record, Task, Template


def task(train: str, validation: str) -> Task:
    def records(text: str, label: int) -> list[Record]:
        return [
            Record({"text": letter, "unused": f"{letter}{place}"}, label) for place, letter in enumerate(text)
        ]

    return Task(
        "t",
        ("x", "y"),
        records(train, 0),
        records(validation, 1),
        Template("t", "{text}:", ("a", "b"), ""),
        "",
    )


def test_queries_whose_text_is_trained_on_are_left_out_and_the_others_keep_their_place() -> None:
    unseen, removed = without_seen_queries(task("abc", "xbyaz"))
    assert ([record.fields["text"] for record in unseen.validation], removed) == (["x", "y", "z"], 2)
    assert [unseen.source_index(place) for place in range(3)] == [0, 2, 4]
    assert len(unseen.train) == 3


def test_where_none_is_left_it_is_said() -> None:
    with pytest.raises(UserError, match="Every one of the 2 validation records"):
        without_seen_queries(task("abc", "cb"))


@pytest.mark.parametrize("name", [name for name in task_names() if name.startswith("pocket")])
def test_pocket_tasks_have_none(name: str) -> None:
    assert without_seen_queries(load_task(name)).removed == 0
