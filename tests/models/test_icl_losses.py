"""Imitating ICL: both losses against prompts run one at a time, what a step does, and what is refused."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import tiny_families
import torch
from model_snapshot import assert_as_it_was, fresh, sequences, snapshot
from torch import Tensor

from iclprobe import load_model
from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.next_token import stream_next_token
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models.finetuning import finetune, training_loss
from iclprobe.models.icl_targets import IclTargets
from iclprobe.models.loading import LanguageModel
from iclprobe.models.recipe import Recipe, load_recipe, preset
from iclprobe.tasks.prompt_set import PromptSet

FAMILIES = ("llama", "gpt2", "gpt_neox", "phi3", "bloom", "opt", "falcon", "gptj", "gemma2")
TRAINING = tuple(sequences(5, seed=3))
CONTEXT = tuple(tiny_families.random_ids(9, 77))


def prompts(prefix: tuple[int, ...]) -> PromptSet:
    return PromptSet(prefix, tuple(one.ids[: one.label_start] for one in TRAINING))


def outputs(model: LanguageModel, prefix: tuple[int, ...]) -> Tensor:
    found = capture(model, prompts(prefix), CapturePlan(sites=("attention_output",))).attention_output
    assert found is not None
    return found.clone()


def answers(model: LanguageModel, prefix: tuple[int, ...]) -> Tensor:
    rows: dict[int, Tensor] = {}
    for indices, said in stream_next_token(model, prompts(prefix)):
        rows.update(zip(indices.tolist(), said.logprobs, strict=True))
    return torch.stack([rows[place] for place in range(len(TRAINING))])


def targets(model: LanguageModel) -> IclTargets:
    after, before = outputs(model, CONTEXT), outputs(model, ())
    change = (after - before).square().sum(-1).mean(0)
    return IclTargets(TRAINING, after, change, answers(model, CONTEXT))


def hear(heard: list[Tensor], module: torch.nn.Module, given: Any, output: Any) -> None:
    heard.append(output[0, -1])


def recipe(name: str, **changes: Any) -> Recipe:
    return load_recipe({"preset": name, **changes})


@pytest.mark.parametrize("family", FAMILIES)
def test_the_pretrained_model_is_a_whole_icl_change_away_and_its_own_outputs_nothing(family: str):
    model = load_model(tiny_families.build(family))
    aims = targets(model)
    assert training_loss(model, TRAINING, preset("match_icl"), 0, targets=aims) == pytest.approx(1, abs=1e-4)
    own = IclTargets(TRAINING, outputs(model, ()), aims.change, answers(model, ()))
    for name in ("match_icl", "distill_icl"):
        assert training_loss(model, TRAINING, preset(name), 0, targets=own) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_the_divergence_is_that_of_whole_prompts_run_alone(family: str):
    model = load_model(tiny_families.build(family))
    aims = targets(model)
    want = 0.0
    for place, one in enumerate(TRAINING):
        with torch.no_grad():
            said, heard = (
                model.module(input_ids=torch.tensor([[*prefix, *one.ids[: one.label_start]]])).logits[0, -1]
                for prefix in ((), CONTEXT)
            )
        p, q = heard.softmax(-1), said.softmax(-1)
        want += float((p * (p / q).log()).sum()) / len(TRAINING)
        assert aims.logprobs is not None
        torch.testing.assert_close(aims.logprobs[place], heard.log_softmax(-1), atol=1e-4, rtol=1e-4)
    got = training_loss(model, TRAINING, preset("distill_icl"), 0, targets=aims)
    assert got == pytest.approx(want, rel=1e-3)


@pytest.mark.parametrize("forward_size", [1, 2, 8])
@pytest.mark.parametrize("name", ["match_icl", "distill_icl"])
def test_one_step_of_gradient_descent_is_that_of_a_literal_loop(name: str, forward_size: int):
    module = fresh("llama")
    model = load_model(module)
    aims = targets(model)
    asked = recipe(name, optimizer="gd", batch_size=None, epochs=1)
    done = finetune(
        model, TRAINING, asked, learning_rate=0.1, seed=0, targets=aims, forward_size=forward_size
    )
    trained = {
        key: value.requires_grad_() for key, value in module.named_parameters() if key in done.delta.tensors
    }
    assert trained
    assert aims.attention_output is not None and aims.change is not None and aims.logprobs is not None
    total = torch.zeros(())
    for place, one in enumerate(TRAINING):
        heard: list[Tensor] = []
        handles = [part.output_projection.register_forward_hook(partial(hear, heard)) for part in model.parts]
        output: Any = module(input_ids=torch.tensor([one.ids[: one.label_start]]))
        logits = output.logits[0, -1]
        for handle in handles:
            handle.remove()
        if name == "match_icl":
            for layer, output in enumerate(heard):
                gap = (output - aims.attention_output[place, layer]).square().sum()
                total = total + gap / aims.change[layer] / len(heard) / len(TRAINING)
        else:
            p = aims.logprobs[place]
            total = total + (p.exp() * (p - logits.log_softmax(-1))).sum() / len(TRAINING)
    assert done.losses[0] == pytest.approx(float(total.detach()), rel=1e-4)
    for (key, value), gradient in zip(
        trained.items(), torch.autograd.grad(total, list(trained.values())), strict=True
    ):
        torch.testing.assert_close(
            done.delta.tensors[key], (value - 0.1 * gradient).detach(), atol=1e-6, rtol=1e-5
        )


@pytest.mark.parametrize("name", ["match_icl", "distill_icl"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
def test_forty_steps_come_nearer_and_leave_the_model_as_it_was(family: str, name: str):
    module = fresh(family)
    model = load_model(module)
    before, aims = snapshot(module), targets(model)
    seen: list[int] = []
    done = finetune(
        model,
        TRAINING,
        recipe(name, epochs=40, evaluation_epochs=20),
        learning_rate=1e-2,
        seed=0,
        targets=aims,
        evaluate=seen.append,
    )
    assert_as_it_was(module, before)
    assert (done.steps, seen) == (40, [20, 40])
    assert done.final_loss < 0.8 * done.losses[0]
    with done.delta.applied(model):
        assert training_loss(model, TRAINING, preset(name), 0, targets=aims) == pytest.approx(
            done.final_loss, rel=1e-3
        )


def test_adapters_imitate_too():
    module = fresh("llama")
    model = load_model(module)
    asked = recipe("match_icl", parameters="lora_qv", epochs=10)
    done = finetune(model, TRAINING, asked, learning_rate=1e-2, seed=0, targets=targets(model))
    assert done.final_loss < done.losses[0]


def test_a_layer_that_icl_leaves_alone_is_nothing_to_imitate():
    model = load_model(tiny_families.build("llama"))
    aims = targets(model)
    assert aims.change is not None
    change = aims.change.clone()
    change[0] = 0
    still = IclTargets(TRAINING, aims.attention_output, change)
    layers = len(model.parts)
    assert training_loss(model, TRAINING, preset("match_icl"), 0, targets=still) == pytest.approx(
        (layers - 1) / layers, abs=1e-4
    )


def test_recipes_and_targets_belong_together():
    model = load_model(tiny_families.build("llama"))
    aims = targets(model)
    for name in ("match_icl", "distill_icl"):
        with pytest.raises(UserError, match="imitates ICL and was given no"):
            finetune(model, TRAINING, preset(name), learning_rate=0.1, seed=0)
    with pytest.raises(UserError, match="was given no logprobs"):
        only_inside = IclTargets(TRAINING, aims.attention_output, aims.change)
        finetune(model, TRAINING, preset("distill_icl"), learning_rate=0.1, seed=0, targets=only_inside)
    with pytest.raises(UserError, match="imitates no ICL"):
        finetune(model, TRAINING, preset("dai"), learning_rate=0.1, seed=0, targets=aims)
    with pytest.raises(UserError, match="has no target of ICL"):
        finetune(model, sequences(2, seed=9), preset("match_icl"), learning_rate=0.1, seed=0, targets=aims)
    with pytest.raises(UserError, match="number"):
        recipe("match_icl", learning_rate="auto")
    with pytest.raises(UserError, match="layer_causal"):
        recipe("distill_icl", schedule="layer_causal")
