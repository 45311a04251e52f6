"""Label log-probabilities against a literal forward of prompt and label, one at a time."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import eager_oracle
import pytest
import tiny_families
import torch
from tiny_families import FAMILIES

from iclprobe.hooks.capture import capture
from iclprobe.hooks.forward import run_forward
from iclprobe.hooks.label_scores import score_labels
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models.loading import load_model
from iclprobe.tasks.prompts import PromptSet

Options = tuple[tuple[int, ...], ...]


def best_continuation(model: Any, ids: list[int], count: int) -> tuple[int, ...]:
    """What the model itself would say, so that an option is the argmax in every token."""
    said: list[int] = []
    for _ in range(count):
        said.append(int(eager_oracle.logits(model, [*ids, *said])[-1].argmax()))
    return tuple(said)


def literal(model: Any, ids: list[int], option: tuple[int, ...]) -> tuple[list[float], bool]:
    logprobs = torch.log_softmax(eager_oracle.logits(model, [*ids, *option])[len(ids) - 1 : -1], dim=-1)
    each = [logprobs[step, token].item() for step, token in enumerate(option)]
    return each, all(int(logprobs[step].argmax()) == token for step, token in enumerate(option))


def labelled(name: str, single: bool) -> PromptSet:
    model = tiny_families.build(name)
    prefix = tiny_families.prefix(name)
    queries = tiny_families.prompts(name)[:3]
    options: list[Options] = []
    for query in queries:
        best = best_continuation(model, prefix + query, 1 if single else 3)
        others: Options = ((11,), (12,)) if single else ((21,), (best[0], 7), (30, 31, 32, 33))
        options.append((best, *others))
    return PromptSet(tuple(prefix), tuple(tuple(q) for q in queries), tuple(options), (0,) * len(queries))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_options_are_scored_by_their_whole_continuation(name: str) -> None:
    model: Any = tiny_families.build(name)
    prompts = labelled(name, single=False)
    wanted = [
        [literal(model, list(prompts.full_ids(index)), option) for option in options]
        for index, options in enumerate(prompts.label_ids)
    ]
    cases: list[tuple[Literal["mean", "sum", "first"], bool, Any]] = [
        ("mean", True, "last_prompt_token"),
        ("sum", False, "last_prompt_token"),
        ("first", True, "last_prompt_token"),
        ("mean", True, "first_label_token"),
    ]
    for scoring, shared, positions in cases:
        plan = CapturePlan(sites=("attention_output",), positions=positions)
        got: Any = capture(model, prompts, plan, scoring=scoring, share_prefix=shared, batch_size=3)
        for index, row in enumerate(wanted):
            for option, (each, is_argmax) in enumerate(row):
                value = {"mean": sum(each) / len(each), "sum": sum(each), "first": each[0]}[scoring]
                assert got.label_logprobs[index, option].item() == pytest.approx(value, rel=1e-4, abs=2e-4)
                assert got.label_is_argmax[index, option].item() is is_argmax
        assert got.label_is_argmax[:, 0].all()
        assert got.prediction.tolist() == got.label_logprobs.argmax(1).tolist()
        assert got.manifest["label_scoring"] == scoring


@pytest.mark.parametrize("name", ["gpt2", "mistral", "gptj", "mpt", "bloom"])
def test_single_tokens_need_no_second_forward(name: str) -> None:
    model: Any = tiny_families.build(name)
    prompts = labelled(name, single=True)
    got: Any = capture(model, prompts)
    for index, options in enumerate(prompts.label_ids):
        for option, ids in enumerate(options):
            each, is_argmax = literal(model, list(prompts.full_ids(index)), ids)
            assert got.label_logprobs[index, option].item() == pytest.approx(each[0], abs=2e-4)
            assert got.label_is_argmax[index, option].item() is is_argmax


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gptj", "falcon"])
def test_the_most_probable_next_tokens(name: str) -> None:
    model: Any = tiny_families.build(name)
    prompts = tiny_families.prompts(name)
    got: Any = capture(model, prompts, top_k=5, batch_size=4)
    for index, ids in enumerate(prompts):
        logprobs = torch.log_softmax(eager_oracle.logits(model, ids)[-1], dim=-1)
        top = logprobs.sort(descending=True)
        assert got.top_ids[index].tolist() == top.indices[:5].tolist()
        torch.testing.assert_close(got.top_logprobs[index], top.values[:5], atol=2e-4, rtol=1e-4)
    assert capture(model, prompts, top_k=1000).top_ids.shape == (4, tiny_families.VOCABULARY)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "mpt", "falcon_alibi"])
def test_prompt_and_label_run_as_one_text_where_no_cache_can_be_used(name: str) -> None:
    model: Any = tiny_families.build(name)
    prompts = labelled(name, single=False)
    texts = [prompts.full_ids(index) for index in range(prompts.n)]
    said = torch.stack([torch.log_softmax(eager_oracle.logits(model, list(text))[-1], -1) for text in texts])
    exists = torch.ones(prompts.n, max(map(len, texts)), dtype=torch.bool)
    loaded = load_model(model)
    forward = partial(run_forward, loaded)
    scores = score_labels(loaded, said, prompts.label_ids, texts, None, exists, "sum", forward=forward)
    for index, options in enumerate(prompts.label_ids):
        for option, ids in enumerate(options):
            each, is_argmax = literal(model, list(texts[index]), ids)
            assert scores.logprobs[index, option].item() == pytest.approx(sum(each), rel=1e-4, abs=2e-4)
            assert scores.is_argmax[index, option].item() is is_argmax
