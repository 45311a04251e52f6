"""The loss on labels or on all tokens, against a sum written out token by token."""

from __future__ import annotations

import math
from typing import Any

import pytest
import tiny_families
import torch
from model_snapshot import assert_as_it_was, fresh, one_by_one_nll, sequences, snapshot

from iclprobe.errors import UserError
from iclprobe.models.loading import load_model
from iclprobe.models.recipe import load_recipe
from iclprobe.models.token_loss import (
    check_sequences,
    label_nll,
    loss_batch,
    loss_of,
    loss_token_count,
    sequence_nll,
)
from iclprobe.tasks.prompt_set import TrainingSequence


@pytest.mark.parametrize("loss_tokens", ["label", "all"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "phi3", "opt", "bloom"])
def test_a_padded_batch_has_the_loss_of_its_sequences_alone(family: str, loss_tokens: str):
    model = load_model(tiny_families.build(family))
    training = sequences()
    with torch.no_grad():
        together = sequence_nll(model, training, loss_tokens)  # type: ignore[arg-type]
        alone = [one_by_one_nll(model.module, [sequence], loss_tokens) for sequence in training]
    assert together.tolist() == pytest.approx([float(total) for total, _ in alone], rel=1e-5)
    counts = [loss_token_count(sequence, loss_tokens) for sequence in training]  # type: ignore[arg-type]
    assert counts == [count for _, count in alone]


def test_by_hand_three_of_five_tokens_count_after_the_first_two():
    sequence = TrainingSequence((1, 5, 6, 7, 8), 2)
    assert loss_token_count(sequence, "label") == 3
    assert loss_token_count(sequence, "all") == 4


def test_half_precision_losses_are_summed_in_fp32():
    model = load_model(fresh("llama", torch.bfloat16))
    with torch.no_grad():
        assert sequence_nll(model, sequences(), "all").dtype == torch.float32


def test_label_nll_is_the_mean_over_sequences_of_the_mean_over_label_tokens():
    module = tiny_families.fresh("gpt2").train()
    model = load_model(module)
    held_out = sequences(5)
    before = snapshot(module)
    values = [label_nll(model, held_out, batch_size=size) for size in (1, 2, 8)]
    assert_as_it_was(module, before)
    module.eval()
    with torch.no_grad():
        alone = [one_by_one_nll(module, [sequence], "label") for sequence in held_out]
    literal = sum(float(total) / count for total, count in alone) / len(alone)
    assert values == pytest.approx([literal] * 3, rel=1e-5)


def test_sequences_the_model_cannot_read_are_refused():
    model = load_model(tiny_families.build("llama"))
    with pytest.raises(UserError, match="no demonstration"):
        check_sequences(model, [])
    with pytest.raises(UserError, match=r"129 tokens .* takes 128"):
        check_sequences(model, [TrainingSequence((1,) * 129, 3)])
    with pytest.raises(UserError, match=r"token 97 .* knows 97 tokens"):
        check_sequences(model, [TrainingSequence((1, 97), 1)])


def test_a_loss_over_the_labels_alone_is_a_choice_among_them():
    """Bar Natan et al.'s text: "project into the label space"."""
    module: Any = tiny_families.build("llama")
    options = ((5,), (40,), (77,))
    training = [
        TrainingSequence((1, 9, 30 + n, 8)[: 3 - n % 2] + options[n], 3 - n % 2, options) for n in range(3)
    ]
    batch = loss_batch(load_model(module), training, "label", "labels")
    with torch.no_grad():
        got = loss_of(load_model(module), batch)
        want = []
        for n, sequence in enumerate(training):
            logits = module(input_ids=torch.tensor([sequence.ids[:-1]])).logits[0, -1]
            chances = [math.exp(float(logits[option[0]])) for option in options]
            want.append(-math.log(chances[n] / sum(chances)))
    assert got.tolist() == pytest.approx(want, abs=1e-5)


def test_a_choice_among_labels_needs_single_tokens_and_the_label_loss():
    model = load_model(tiny_families.build("llama"))
    several = [TrainingSequence((1, 9, 5, 6), 2, ((5, 6), (7,)))]
    for training in (several, [TrainingSequence((1, 9, 5), 2)]):
        with pytest.raises(UserError, match="needs label words of one token"):
            loss_batch(model, training, "label", "labels")
    with pytest.raises(UserError, match="loss_vocabulary labels needs loss_tokens label"):
        load_recipe({"loss_vocabulary": "labels"})
    with pytest.raises(UserError, match="none of its label options"):
        TrainingSequence((1, 9, 5), 2, ((6,), (7,)))
