"""The loss on labels or on all tokens, against a sum written out token by token."""

from __future__ import annotations

import pytest
import tiny_families
import torch
from model_snapshot import assert_as_it_was, fresh, one_by_one_nll, sequences, snapshot

from iclprobe.errors import UserError
from iclprobe.models.loading import load_model
from iclprobe.models.token_loss import check_sequences, label_nll, loss_token_count, sequence_nll
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
