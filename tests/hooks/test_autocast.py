"""Under autocast everything is what the model computes there, kept in fp32, and training takes effect."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_families
import torch

import iclprobe
from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import load_model
from iclprobe.models.recipe import Recipe
from iclprobe.tasks.prompt_set import TrainingSequence

IDS = tiny_families.prompts("llama")
TRAINING = tuple(TrainingSequence(tuple(ids), len(ids) - 1) for ids in IDS)


def autocast(**options: Any) -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16, **options)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gptj", "falcon", "bloom", "gemma2"])
def test_rows_are_those_that_the_model_used(name: str) -> None:
    model: Any = tiny_families.build(name)
    plain: Any = iclprobe.capture(model, IDS)
    with autocast():
        got: Any = iclprobe.capture(model, IDS)
        checked = iclprobe.self_check(model)
    assert got.scores.dtype == got.attention_output.dtype == torch.float32
    assert (got.manifest["dtype"], plain.manifest["dtype"]) == ("bfloat16", "float32")
    for array in ("scores", "attention_output"):
        difference = (getattr(got, array) - getattr(plain, array)).norm() / getattr(plain, array).norm()
        assert 1e-4 < difference < 0.1
    # Products of rounded queries and keys are not rounded again.
    assert not torch.equal(got.scores, got.scores.bfloat16().float()) or name in ("gptj", "bloom", "falcon")
    assert checked.held, checked.lines()
    assert (checked.dtype, iclprobe.self_check(model).dtype) == ("bfloat16", "float32")


@pytest.mark.parametrize("parameters", ["attn_kv", "lora_qv"])
@pytest.mark.parametrize("schedule", ["joint", "layer_causal"])
def test_trained_weights_are_those_that_run(parameters: str, schedule: Any) -> None:
    """Autocast keeps its own copies of the weights, which no finetuning may leave as they were."""
    model = load_model(tiny_families.fresh("llama"))
    recipe = Recipe(parameters=parameters, schedule=schedule, optimizer="sgd", batch_size=2, epochs=3)

    def run() -> tuple[Any, Any, Any]:
        before = iclprobe.capture(model, IDS).attention_output
        finetuning = finetune(model, TRAINING, recipe, learning_rate=0.05, seed=0)
        with finetuning.delta.applied(model):
            after = iclprobe.capture(model, IDS).attention_output
        assert torch.equal(iclprobe.capture(model, IDS).attention_output, before)  # type: ignore[arg-type]
        return finetuning, before, after

    with autocast(cache_enabled=False):
        want, _, want_after = run()
    with autocast():
        got, before, after = run()
    assert got.losses == want.losses
    assert got.final_loss == want.final_loss < want.losses[0]
    assert torch.equal(after, want_after)
    assert not torch.equal(after, before)
    exact = run()[0]
    assert got.losses[0] == pytest.approx(exact.losses[0], rel=0.05)


def test_capture_and_training_inside_inference_mode() -> None:
    model = load_model(tiny_families.fresh("llama"))
    recipe = Recipe(optimizer="sgd")
    want = finetune(model, TRAINING, recipe, learning_rate=0.05, seed=0)
    with torch.inference_mode():
        assert finetune(model, TRAINING, recipe, learning_rate=0.05, seed=0).losses == want.losses
        inside: Any = iclprobe.capture(model, IDS).scores
    assert torch.equal(inside, iclprobe.capture(model, IDS).scores)  # type: ignore[arg-type]
