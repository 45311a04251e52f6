"""What a model says next: the same as a plain forward, and the same as a capture says."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_families
import torch
from expected_rows import prompt_set
from model_snapshot import fresh, sequences

from iclprobe.errors import UserError
from iclprobe.hooks import label_scores
from iclprobe.hooks.capture import capture
from iclprobe.hooks.next_token import stream_next_token
from iclprobe.hooks.repeated_queries import RepeatedQueries
from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import load_model
from iclprobe.models.recipe import Recipe
from iclprobe.tasks.prompts import PromptSet


def _plain(module: Any, prompts: PromptSet) -> torch.Tensor:
    rows = []
    with torch.no_grad():
        for index in range(prompts.n):
            logits = module(input_ids=torch.tensor([prompts.full_ids(index)])).logits[0, -1]
            rows.append(logits.float().log_softmax(-1))
    return torch.stack(rows)


def _gathered(answers: Any, n: int) -> torch.Tensor:
    rows = torch.full((n, tiny_families.VOCABULARY), torch.nan)
    for indices, said in answers:
        rows[indices] = said.logprobs
    return rows


@pytest.mark.parametrize("name", ["llama", "gpt2", "gptj", "mpt", "gemma2"])
def test_distributions_are_those_of_full_prompts_one_by_one(name: str):
    module = tiny_families.build(name)
    prompts = prompt_set(name, labels=True)
    got = _gathered(stream_next_token(module, prompts, batch_size=2), prompts.n)
    torch.testing.assert_close(got, _plain(module, prompts), rtol=0, atol=2e-5)


def test_answers_are_those_that_a_capture_gives():
    module = tiny_families.build("llama")
    prompts = prompt_set("llama", labels=True)
    captured = capture(module, prompts)
    assert captured.label_logprobs is not None and captured.label_is_argmax is not None
    for indices, said in stream_next_token(module, prompts, batch_size=3):
        assert said.label_logprobs is not None and said.label_is_argmax is not None
        torch.testing.assert_close(said.label_logprobs, captured.label_logprobs[indices], rtol=0, atol=1e-5)
        assert torch.equal(said.label_is_argmax, captured.label_is_argmax[indices])
        assert torch.equal(said.prediction, captured.label_logprobs[indices].argmax(1))


def test_prompts_without_labels_have_no_prediction():
    for _, said in stream_next_token(tiny_families.build("llama"), tiny_families.prompts("llama")):
        with pytest.raises(UserError, match="carry no label words"):
            _ = said.prediction


def _single_token_labels(prompts: PromptSet) -> PromptSet:
    labels = tuple(tuple((option[0],) for option in options) for options in prompts.label_ids)
    return PromptSet((), prompts.query_ids, labels, prompts.gold)


def _zero_shot(prompts: PromptSet) -> PromptSet:
    return PromptSet((), prompts.query_ids, prompts.label_ids, prompts.gold)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", ["llama", "gptj", "opt", "mpt", "gemma3_text"])
def test_repeated_queries_see_what_training_changed_and_lower_layers_run_once(name: str, several: bool):
    module = fresh(name)
    model = load_model(module)
    prompts = (_zero_shot if several else _single_token_labels)(prompt_set(name, labels=True))
    queries = RepeatedQueries(model, prompts, first_trained_layer=1, batch_size=2)
    assert queries.keeps
    runs: list[int] = []
    first = model.parts[0].mlp_output
    assert first is not None
    first.register_forward_hook(lambda *_: runs.append(0))
    before = _gathered(queries.ask(), prompts.n)
    torch.testing.assert_close(before, _plain(module, prompts), rtol=0, atol=2e-5)
    runs.clear()
    recipe = Recipe(parameters="attn_v@1", epochs=3)
    asked: list[torch.Tensor] = []
    done = finetune(
        model,
        sequences(2),
        recipe,
        learning_rate=0.05,
        seed=0,
        evaluate=lambda epoch: asked.append(_gathered(queries.ask(), prompts.n)),
    )
    kept_runs = len(runs)
    with done.delta.applied(model):
        want = _plain(module, prompts)
    torch.testing.assert_close(asked[-1], want, rtol=0, atol=2e-5)
    assert not torch.allclose(asked[-1], before, atol=1e-4)
    # The training sequences' own forwards, each once, and no query's.
    assert kept_runs == 2
    torch.testing.assert_close(_gathered(queries.ask(), prompts.n), before, rtol=0, atol=1e-6)


def _scores(answers: Any, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    scores, hits = {}, {}
    for indices, said in answers:
        for place, index in enumerate(indices.tolist()):
            scores[index], hits[index] = said.label_logprobs[place], said.label_is_argmax[place]
    return torch.stack([scores[i] for i in range(n)]), torch.stack([hits[i] for i in range(n)])


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("name", tiny_families.FAMILIES)
def test_label_words_of_several_tokens_are_scored_alike_behind_kept_layers(name: str, layer: int):
    module = fresh(name)
    model = load_model(module)
    prompts = _zero_shot(prompt_set(name, labels=True))
    assert any(len(ids) > 1 for options in prompts.label_ids for ids in options)
    queries = RepeatedQueries(model, prompts, first_trained_layer=layer, batch_size=2)
    assert queries.keeps
    list(queries.ask())
    with torch.no_grad():
        for parameter in model.layers[layer].parameters():
            parameter.mul_(1.1)
    lower = model.layers[0].forward
    model.layers[0].forward = lambda *args, **kwargs: pytest.fail("a layer that never changes runs again")
    got = _scores(queries.ask(), prompts.n)
    model.layers[0].forward = lower
    want = _scores(stream_next_token(model, prompts, batch_size=2), prompts.n)
    torch.testing.assert_close(got[0], want[0], rtol=0, atol=2e-5)
    assert torch.equal(got[1], want[1])


def test_what_was_interrupted_is_not_taken_for_kept(monkeypatch: pytest.MonkeyPatch):
    model = load_model(fresh("llama"))
    prompts = _zero_shot(prompt_set("llama", labels=True))
    queries = RepeatedQueries(model, prompts, first_trained_layer=1, batch_size=2)
    original = label_scores._score_continuation

    def fail(*args: Any) -> Any:
        raise RuntimeError("interrupted")

    monkeypatch.setattr(label_scores, "_score_continuation", fail)
    with pytest.raises(RuntimeError, match="interrupted"):
        list(queries.ask())
    monkeypatch.setattr(label_scores, "_score_continuation", original)
    want = _scores(stream_next_token(model, prompts, batch_size=2), prompts.n)[0]
    for _ in range(2):
        torch.testing.assert_close(_scores(queries.ask(), prompts.n)[0], want, rtol=0, atol=2e-5)


def test_nothing_is_kept_where_it_would_be_wrong():
    model = load_model(tiny_families.build("llama"))
    prompts = _zero_shot(prompt_set("llama", labels=True))
    assert not RepeatedQueries(model, prompts, first_trained_layer=0).keeps
