"""Models whose rotation depends on the length of a text: each prompt is rotated as it is by itself."""

from __future__ import annotations

from typing import Any

import length_dependent
import pytest
import torch
from length_dependent import BOUNDARY, MODELS, attention_outputs_alone, build, ids, logits_alone

import iclprobe
from iclprobe.hooks.captured import Capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.hooks.repeated_queries import RepeatedQueries
from iclprobe.models.loading import load_model
from iclprobe.models.rotation import Rotation
from iclprobe.tasks.prompts import PromptSet

PREFIX = ids(BOUNDARY - 10)
# With the prefix: beyond the boundary, up to it to the token, and below it.
QUERIES = (ids(21), ids(10), ids(17, 1), ids(21, 2), ids(4))
OPTIONS = ((5, 6, 7), (8,), (9, 10))

names = pytest.mark.parametrize("name", list(MODELS))


def relative(got: torch.Tensor, want: torch.Tensor) -> float:
    return float((got - want).norm() / want.norm())


def next_token(name: str, text: tuple[int, ...]) -> torch.Tensor:
    return logits_alone(name, text)[-1].log_softmax(-1)


def whole_text(name: str, prompt: tuple[int, ...], option: tuple[int, ...]) -> float:
    logprobs = logits_alone(name, prompt + option)[len(prompt) - 1 : -1].log_softmax(-1)
    return sum(logprobs[step, token].item() for step, token in enumerate(option)) / len(option)


def check_rows(got: Capture, model: Any, texts: list[tuple[int, ...]]) -> None:
    assert got.attention_output is not None
    for index, text in enumerate(texts):
        want = attention_outputs_alone(model, text)[:, -1]
        assert relative(got.attention_output[index], want) < 1e-5, (index, len(text))


@names
@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("shared", [True, False])
def test_every_prompt_is_rotated_as_it_is_alone(name: str, batch_size: int, shared: bool) -> None:
    model = build(name)
    prompts = PromptSet(PREFIX, QUERIES)
    got = iclprobe.capture(model, prompts, batch_size=batch_size, share_prefix=shared)
    check_rows(got, build(name), [PREFIX + query for query in QUERIES])
    assert got.manifest["prefix_shared"] is False


@names
def test_a_prefix_is_shared_where_it_is_rotated_as_the_prompts_are(name: str) -> None:
    model = build(name)
    below = iclprobe.capture(model, PromptSet(PREFIX, QUERIES[1:2] + QUERIES[4:]))
    assert below.manifest["prefix_shared"] is True
    check_rows(below, build(name), [PREFIX + QUERIES[1], PREFIX + QUERIES[4]])
    long = ids(BOUNDARY + 3)
    beyond = iclprobe.capture(model, PromptSet(long, QUERIES))
    assert beyond.manifest["prefix_shared"] is ("LongRoPE" in name)
    check_rows(beyond, build(name), [long + query for query in QUERIES])


@names
def test_what_ran_before_changes_nothing_and_comes_back(name: str) -> None:
    prompts = PromptSet((), (ids(BOUNDARY), ids(BOUNDARY + 20), ids(12)))
    fresh = iclprobe.capture(build(name), prompts, CapturePlan(sites=("attention_output", "scores")))
    model = build(name)
    with torch.no_grad():
        model(torch.tensor([ids(150)]))
        said = model(torch.tensor([ids(120)])).logits
        again = iclprobe.capture(model, prompts, CapturePlan(sites=("attention_output", "scores")))
        assert torch.equal(again.attention_output, fresh.attention_output)  # type: ignore[arg-type]
        assert torch.equal(again.scores, fresh.scores)  # type: ignore[arg-type]
        # What the user's own forwards say is between the user and transformers.
        assert torch.equal(model(torch.tensor([ids(120)])).logits, said)


@names
@pytest.mark.parametrize("positions", ["last_prompt_token", "first_label_token"])
@pytest.mark.parametrize("shared", [True, False])
def test_labels_are_scored_as_the_whole_text_is(name: str, positions: Any, shared: bool) -> None:
    # Prompts from well below the boundary to beyond it: labels of some of them cross it.
    queries = tuple(ids(length, 3) for length in (4, 7, 8, 9, 10, 11, 12, 12))
    prompts = PromptSet(PREFIX, queries, (OPTIONS,) * len(queries), (0,) * len(queries))
    plan = CapturePlan(sites=("attention_output",), positions=positions)
    got = iclprobe.capture(build(name), prompts, plan, share_prefix=shared)
    assert got.label_logprobs is not None and got.top_logprobs is not None
    added = OPTIONS[0][:1] if positions == "first_label_token" else ()
    check_rows(got, build(name), [PREFIX + query + added for query in queries])
    for index, query in enumerate(queries):
        alone = next_token(name, PREFIX + query)
        assert got.top_logprobs[index].tolist() == pytest.approx(alone.topk(10).values.tolist(), abs=2e-4)
        assert got.label_logprobs[index, 1].item() == pytest.approx(alone[OPTIONS[1][0]].item(), abs=2e-4)
        for option in (0, 2):
            want = whole_text(name, PREFIX + query, OPTIONS[option])
            assert got.label_logprobs[index, option].item() == pytest.approx(want, abs=2e-4)


@names
def test_the_first_token_alone_is_that_of_the_prompt(name: str) -> None:
    queries = (ids(9), ids(20))
    prompts = PromptSet(PREFIX, queries, (OPTIONS,) * 2, (0,) * 2)
    got = iclprobe.capture(build(name), prompts, scoring="first")
    for index, query in enumerate(queries):
        alone = next_token(name, PREFIX + query)
        want = [alone[option[0]].item() for option in OPTIONS]
        assert got.label_logprobs[index].tolist() == pytest.approx(want, abs=2e-4)  # type: ignore[index]


@names
def test_a_label_token_beyond_the_boundary_does_not_change_what_comes_next_in_front_of_it(name: str) -> None:
    texts = (ids(BOUNDARY), ids(20))
    prompts = PromptSet((), texts, (((5,), (8,)),) * 2, (0,) * 2)
    got = iclprobe.capture(build(name), prompts, CapturePlan(positions="first_label_token"))
    assert got.label_logprobs is not None
    for index, text in enumerate(texts):
        alone = next_token(name, text)
        want = [alone[5].item(), alone[8].item()]
        assert got.label_logprobs[index].tolist() == pytest.approx(want, abs=1e-5)


@names
def test_queries_asked_again_behind_layers_that_did_not_change(name: str) -> None:
    texts = (ids(BOUNDARY + 9), ids(BOUNDARY), ids(20), ids(BOUNDARY + 2))
    prompts = PromptSet((), texts, (((5,), (8,)),) * 4, (0,) * 4)
    asked = RepeatedQueries(load_model(build(name)), prompts, first_trained_layer=1, batch_size=4)
    assert asked.keeps
    for _ in range(2):
        for indices, said in asked.ask():
            for row, index in enumerate(indices.tolist()):
                want = next_token(name, texts[index])
                assert said.logprobs[row].tolist() == pytest.approx(want.tolist(), abs=3e-4)


@names
def test_the_self_check_crosses_the_boundary(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(name)
    result = iclprobe.self_check(model)
    assert result.held, result.lines()
    assert not any("exceed" in check.note for check in result.checks)
    monkeypatch.setattr(Rotation, "regime", lambda self, length: ())
    failed = [check.name for check in iclprobe.self_check(model).checks if not check.held]
    assert failed == [
        "padding and batch size change no row",
        "a shared prefix gives what full prompts give",
    ]


def test_a_distant_boundary_is_crossed_where_that_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(length_dependent, "BOUNDARY", 300)
    monkeypatch.setattr(length_dependent, "CONTEXT", 600)
    longrope = {**length_dependent._LONGROPE, "original_max_position_embeddings": 300}
    monkeypatch.setattr(length_dependent, "_LONGROPE", longrope)
    model = build("phi3, LongRoPE")
    result = iclprobe.self_check(model)
    assert result.held, result.lines()
    assert result.checks[-1].name == "all of this holds on both sides of 300 tokens"
    monkeypatch.setattr("iclprobe.hooks.check_prompts._MOST_ON_CPU", 1.0)
    unseen = iclprobe.self_check(model)
    assert len(unseen.checks) == len(result.checks) - 1
    assert any("do not exceed the boundary of 300" in check.note for check in unseen.checks)
    monkeypatch.undo()
    monkeypatch.setattr(Rotation, "regime", lambda self, length: ())
    *others, last = [check.held for check in iclprobe.self_check(model).checks]
    assert all(others) and not last
