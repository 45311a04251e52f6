"""`capture` and `stream`: what they take, the order they return, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import shared_material
import tiny_families
import torch
from expected_rows import EXACT, errors, expected, prompt_set

from iclprobe.errors import UserError
from iclprobe.hooks.batching import make_batches
from iclprobe.hooks.capture import capture, stream
from iclprobe.hooks.plan import CapturePlan
from iclprobe.hooks.resolved_plan import resolve_plan
from iclprobe.models.loading import load_model
from iclprobe.tasks.prompts import PromptSet

MODEL: Any = tiny_families.build("llama")
IDS = tiny_families.prompts("llama")


def test_results_come_in_the_order_of_the_prompts() -> None:
    got = capture(MODEL, IDS, batch_size=2)
    for index, ids in enumerate(IDS):
        want = expected("llama", tuple(ids))
        assert max(errors(got, index, want, [len(ids) - 1], slice(0, len(ids))).values()) <= EXACT
        assert got.columns[index].tolist() == [column < len(ids) for column in range(30)]


def test_texts_are_tokenised_and_their_begin_of_sequence_is_no_column() -> None:
    model = load_model(str(shared_material.shared("models/stories260k")), device="cpu")
    texts = ["Once upon a time", "A dog", "The little girl was happy and"]
    got: Any = capture(model, texts)
    tokenised = [model.require_tokenizer()(text)["input_ids"] for text in texts]
    same: Any = capture(model, tokenised)
    assert torch.equal(got.scores, same.scores)
    assert got.columns.sum(1).tolist() == [len(ids) - 1 for ids in tokenised]
    assert capture(model, "A dog").n == 1


def test_batch_sizes_and_progress_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    prompts = prompt_set("llama", labels=True)
    want: Any = capture(MODEL, prompts, batch_size=1)
    for size in (2, "auto"):
        got: Any = capture(MODEL, prompts, batch_size=size)
        for name, array in want.arrays().items():
            torch.testing.assert_close(getattr(got, name), array, atol=2e-5, rtol=1e-4)
    capsys.readouterr()
    capture(MODEL, prompts)
    assert capsys.readouterr() == ("", "")


def test_a_stream_yields_every_prompt_once() -> None:
    prompts = prompt_set("llama", queries=4, labels=True)
    whole: Any = capture(MODEL, prompts, batch_size=3)
    seen: list[int] = []
    for indices, part in stream(MODEL, prompts, batch_size=3):
        seen += indices.tolist()
        width = part.columns.shape[1]
        assert torch.equal(part.scores, whole.scores[indices][..., :width])  # type: ignore[arg-type]
        assert torch.equal(part.prediction, whole.prediction[indices])  # type: ignore[arg-type]
    assert sorted(seen) == [0, 1, 2, 3]


def test_batches_are_sorted_by_length_and_may_hold_one_length_only() -> None:
    assert [batch.tolist() for batch in make_batches([3, 9, 5, 9, 5], 2)] == [[1, 3], [2, 4], [0]]
    alike = make_batches([3, 9, 5, 9, 5, 9], 2, equal_lengths=True)
    assert [batch.tolist() for batch in alike] == [[1, 3], [5], [2, 4], [0]]


def test_begin_of_sequence_alone_is_no_shared_prefix() -> None:
    prompts = PromptSet((1,), tuple(tuple(ids) for ids in IDS), (), (), 1)
    got = capture(MODEL, prompts)
    assert got.manifest["prefix_shared"] is False
    assert got.columns[0].sum() == len(IDS[0])
    whole = capture(MODEL, prompts, CapturePlan(columns="all"))
    assert whole.columns[0, 0].item() is False
    assert whole.columns[0].sum() == len(IDS[0])


def test_listed_positions_count_from_either_end() -> None:
    prompts = prompt_set("llama")
    every: Any = capture(MODEL, prompts, CapturePlan(positions="all"))
    some: Any = capture(MODEL, prompts, CapturePlan(positions=(2, -2, 0)))
    assert some.rows.all() and some.rows.shape == (3, 3)
    for index, ids in enumerate(prompts.query_ids):
        for place, position in enumerate((2, len(ids) - 2, 0)):
            torch.testing.assert_close(some.scores[index, :, place], every.scores[index, :, position])
    assert every.rows.sum(1).tolist() == [len(ids) for ids in prompts.query_ids]


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        (None, (0, 1, 2)),
        ([2, 0], (2, 0)),
        (-1, (2,)),
        (slice(None, None, 2), (0, 2)),
        ("1:", (1, 2)),
        ("0:2:1", (0, 1)),
        ("0,-1", (0, 2)),
        (range(2), (0, 1)),
    ],
)
def test_layers_are_named_in_several_ways(layers: Any, wanted: tuple[int, ...]) -> None:
    assert resolve_plan(CapturePlan(layers=layers), load_model(MODEL)).layers == wanted


@pytest.mark.parametrize("layers", [[3], [-4], [0, 0], [2, -1], [], slice(5, 9)])
def test_layers_that_do_not_exist_or_repeat_are_refused(layers: Any) -> None:
    with pytest.raises(UserError, match=r"layer"):
        capture(MODEL, IDS, CapturePlan(layers=layers))


@pytest.mark.parametrize(
    "wrong",
    [{"layer": [0]}, {"sites": ["value"]}, {"positions": "first"}, {"columns": "keys"}, {"layers": "a:b"}],
)
def test_a_plan_refuses_what_it_does_not_know(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CapturePlan(**wrong)


@pytest.mark.parametrize(
    ("prompts", "plan", "options", "message"),
    [
        ([], {}, {}, "no prompts"),
        ([[5, 6], []], {}, {}, "no tokens"),
        (["text"], {}, {}, "holds no tokenizer"),
        ([5, 6, 7], {}, {}, "neither a text nor a list"),
        ([[5, 6], ["a"]], {}, {}, "neither a text nor a list"),
        ([[5] * 200], {}, {}, "does not fit the context window"),
        ([[5, 6]], {"positions": "first_label_token"}, {}, "label words"),
        ([[5, 6], [5, 6, 7]], {"positions": [2]}, {}, "outside a prompt of 2 tokens"),
        ([[5, 6]], {"positions": [-3]}, {}, "outside a prompt"),
        ([[5, 6]], {"sites": []}, {}, "at least one site"),
        ([[5, 6]], {}, {"batch_size": 0}, "batch size 0"),
        ([[5, 6]], {}, {"batch_size": "many"}, "batch size 'many'"),
    ],
)
def test_what_cannot_be_captured_is_refused(prompts: Any, plan: Any, options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        capture(MODEL, prompts, CapturePlan(**plan), **options)
