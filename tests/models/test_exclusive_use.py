"""Threads that meet at one model: a second one is told so at once, and nobody gets a wrong number."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import tiny_families
import torch

import iclprobe
from iclprobe.errors import UserError
from iclprobe.hooks.capture import stream
from iclprobe.hooks.next_token import stream_next_token
from iclprobe.hooks.repeated_queries import RepeatedQueries
from iclprobe.hooks.tap import tap
from iclprobe.models.delta import Delta, delta_from_module
from iclprobe.models.exclusive_use import exclusive
from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import load_model
from iclprobe.models.random_update import random_update
from iclprobe.models.recipe import Recipe
from iclprobe.models.token_loss import label_nll
from iclprobe.models.untrained import untrained_copy
from iclprobe.tasks.prompt_set import PromptSet, TrainingSequence

IDS = tiny_families.prompts("llama")
TRAINING = tuple(TrainingSequence(tuple(ids), len(ids) - 1) for ids in IDS)
PROMPTS = PromptSet((), tuple(tuple(ids) for ids in IDS))
RECIPE = Recipe(parameters="attn_kv", optimizer="sgd", epochs=1)
SECONDS = 60


def in_another_thread(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(timeout=SECONDS)


def train(model: Any, parameters: str = "attn_kv") -> Any:
    recipe = RECIPE.model_copy(update={"parameters": parameters})
    return finetune(load_model(model), TRAINING, recipe, learning_rate=0.05, seed=0)


def shifted(model: Any) -> Delta:
    return Delta({"lm_head.weight": model.lm_head.weight.detach() + 1})


def apply(model: Any) -> None:
    with shifted(model).applied(model):
        pass


def hold_tap(model: Any) -> None:
    with tap(model):
        pass


USES: dict[str, Callable[[Any], Any]] = {
    "capture": lambda model: iclprobe.capture(model, IDS),
    "stream": lambda model: list(stream(model, IDS)),
    "next token": lambda model: list(stream_next_token(model, IDS)),
    "repeated queries": lambda model: list(RepeatedQueries(load_model(model), PROMPTS).ask()),
    "self-check": iclprobe.self_check,
    "tap": hold_tap,
    "finetune": train,
    "adapters": lambda model: train(model, "lora_qv"),
    "label loss": lambda model: label_nll(load_model(model), TRAINING),
    "delta": apply,
    "random update": lambda model: random_update(load_model(model), shifted(model), 0),
    "delta from a model": lambda model: delta_from_module(load_model(model), tiny_families.build("llama", 1)),
    "sparsity": iclprobe.sparsity,
    "projections": lambda model: list(iclprobe.attention_projections(model)),
    "untrained copy": lambda model: untrained_copy(load_model(model), 0),
}


@pytest.mark.parametrize("use", list(USES))
def test_a_model_that_another_thread_holds_is_refused_at_once(use: str) -> None:
    model: Any = tiny_families.fresh("llama")
    with (
        exclusive(model, "finetuning"),
        pytest.raises(UserError, match=r"another thread uses this LlamaForCausalLM \(finetuning\)"),
    ):
        in_another_thread(lambda: USES[use](model))
    in_another_thread(lambda: USES[use](model))
    USES[use](model)


def test_what_is_held_across_time_is_refused_and_given_free() -> None:
    model: Any = tiny_families.fresh("llama")
    plain = iclprobe.capture(model, IDS)

    def refused() -> None:
        with pytest.raises(UserError, match="another thread uses"):
            in_another_thread(lambda: iclprobe.capture(model, IDS))

    with tap(model):
        refused()
    with shifted(model).applied(model):
        refused()
    batches = stream(model, IDS, batch_size=1)
    next(batches)
    refused()
    # A generator may be gone on with, and closed, in another thread.
    in_another_thread(lambda: next(batches))
    in_another_thread(batches.close)
    again = in_another_thread(lambda: iclprobe.capture(model, IDS))
    assert torch.equal(again.scores, plain.scores)  # type: ignore[arg-type]


def test_other_models_and_heads_of_the_same_decoder() -> None:
    model: Any = tiny_families.fresh("llama")
    other: Any = tiny_families.fresh("llama")
    head = type(model)(model.config)
    head.model = model.model
    with tap(load_model(model)):
        in_another_thread(lambda: train(other))
        with pytest.raises(UserError, match="another thread"):
            in_another_thread(lambda: train(head))
        with pytest.raises(UserError, match="another thread"):
            in_another_thread(lambda: train(load_model(model)))
        assert train(model).steps


def test_a_callback_that_waits_for_a_thread_of_its_own_does_not_hang() -> None:
    model: Any = tiny_families.fresh("llama")
    recipe = RECIPE.model_copy(update={"epochs": 1})
    with pytest.raises(UserError, match="another thread"):
        finetune(
            load_model(model),
            TRAINING,
            recipe,
            learning_rate=0.05,
            seed=0,
            evaluate=lambda epoch: in_another_thread(lambda: iclprobe.capture(model, IDS)),
        )
    assert iclprobe.capture(model, IDS).n == len(IDS)


@pytest.mark.parametrize("name", ["llama", "gptj"])
@pytest.mark.parametrize("beside", ["finetuning", "plain forwards"])
def test_captures_beside_another_thread_are_right_or_refused(name: str, beside: str) -> None:
    model: Any = tiny_families.fresh(name)
    want = iclprobe.capture(model, IDS)
    end = threading.Event()

    def keep_training() -> None:
        while not end.wait(0.05):
            with suppress(UserError):
                train(model)

    def keep_running() -> None:
        # Forwards of one's own are nobody's business, and no part of a capture.
        with torch.no_grad():
            while not end.is_set():
                model(torch.tensor([[3, 4, 5]]))

    right = refused = 0
    deadline = time.monotonic() + SECONDS
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(keep_training if beside == "finetuning" else keep_running)
        try:
            while right < 10 or (beside == "finetuning" and not refused):
                assert time.monotonic() < deadline
                try:
                    got = iclprobe.capture(model, IDS)
                except UserError as error:
                    assert "another thread uses this" in str(error)
                    refused += 1
                    continue
                assert torch.equal(got.scores, want.scores)  # type: ignore[arg-type]
                assert torch.equal(got.attention_output, want.attention_output)  # type: ignore[arg-type]
                right += 1
        finally:
            end.set()
        busy.result(timeout=SECONDS)
    assert beside == "finetuning" or not refused


def test_self_checks_of_two_models_at_once() -> None:
    def check_often(name: str) -> bool:
        model = tiny_families.fresh(name)
        return all(iclprobe.self_check(model).held for _ in range(3))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(check_often, ("llama", "qwen3"), timeout=SECONDS * 2))
