"""Training where the rotation depends on the length: every demonstration is rotated as it is by itself."""

from __future__ import annotations

import pytest
import torch
from length_dependent import BOUNDARY, MODELS, build, ids

from iclprobe.models.delta import delta_from_module
from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import load_model
from iclprobe.models.recipe import Recipe
from iclprobe.models.token_loss import label_nll, sequence_nll
from iclprobe.tasks.prompt_set import TrainingSequence

TRAINING = tuple(
    TrainingSequence(ids(length, 5), length - 2)
    for length in (BOUNDARY + 7, 12, BOUNDARY, BOUNDARY + 1, 30, BOUNDARY + 7, BOUNDARY + 20)
)

names = pytest.mark.parametrize("name", list(MODELS))


def nll_alone(name: str, sequence: TrainingSequence) -> float:
    with torch.no_grad():
        logprobs = build(name)(torch.tensor([sequence.ids]), use_cache=False).logits[0].log_softmax(-1)
    start = sequence.label_start
    return -sum(logprobs[at - 1, sequence.ids[at]].item() for at in range(start, len(sequence.ids)))


@names
def test_losses_are_those_of_each_sequence_alone(name: str) -> None:
    model = load_model(build(name))
    want = [nll_alone(name, sequence) for sequence in TRAINING]
    assert sequence_nll(model, TRAINING, "label").tolist() == pytest.approx(want, rel=1e-4)
    # Each has two label tokens.
    assert label_nll(model, TRAINING, batch_size=7) == pytest.approx(sum(want) / 14, rel=1e-4)


@names
@pytest.mark.parametrize("parameters", ["attn_kv", "attn_kv@-1"])
@pytest.mark.parametrize("schedule", ["joint", "layer_causal"])
@pytest.mark.parametrize("batch_size", [7, 3])
def test_steps_are_those_of_forwards_of_one_sequence(
    name: str, parameters: str, schedule: str, batch_size: int
) -> None:
    recipe = Recipe(
        parameters=parameters,
        schedule=schedule,  # type: ignore[arg-type]
        batch_size=batch_size,
        epochs=2,
        loss_tokens="label",
    )
    alone = finetune(load_model(build(name)), TRAINING, recipe, learning_rate=1e-3, seed=0, forward_size=1)
    together = finetune(load_model(build(name)), TRAINING, recipe, learning_rate=1e-3, seed=0, forward_size=7)
    assert together.losses == pytest.approx(alone.losses, rel=1e-4)
    assert together.final_loss == pytest.approx(alone.final_loss, rel=1e-4)
    if schedule == "joint" and batch_size == 7:
        assert alone.losses[0] == pytest.approx(sum(nll_alone(name, one) for one in TRAINING) / 14, rel=1e-4)


@names
def test_a_model_that_ran_a_long_text_is_still_the_base_of_its_finetuned_self(name: str) -> None:
    base, finetuned = build(name), build(name)
    with torch.no_grad():
        base(torch.tensor([ids(150)]))
        finetuned.model.layers[0].self_attn.o_proj.weight.mul_(1.1)
    assert list(delta_from_module(load_model(base), finetuned).tensors) == [
        "model.layers.0.self_attn.o_proj.weight"
    ]
