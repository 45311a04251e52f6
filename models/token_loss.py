"""The negative log-likelihood of training sequences: of the label, or of every token after the first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ..errors import UserError
from ..tasks.prompt_set import TrainingSequence
from .loading import LanguageModel
from .recipe import LossTokens


def loss_token_count(sequence: TrainingSequence, loss_tokens: LossTokens) -> int:
    """Return how many tokens of a sequence the loss is taken on."""
    return len(sequence.ids) - _first_target(sequence, loss_tokens)


def sequence_nll(
    model: LanguageModel, sequences: Sequence[TrainingSequence], loss_tokens: LossTokens
) -> Tensor:
    """Return the summed negative log-likelihood of each sequence's loss tokens, in one padded forward.

    Args:
        model: The model; it runs as it stands, with whatever gradients are switched on.
        sequences: N sequences.
        loss_tokens: Which tokens count.

    Returns:
        `[N]` fp32 (fp64 for a model in fp64), in nats, differentiable.
    """
    longest = max(len(sequence.ids) for sequence in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    exists = torch.zeros_like(ids)
    counts = torch.zeros(len(sequences), longest - 1, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        exists[row, : len(sequence.ids)] = 1
        counts[row, _first_target(sequence, loss_tokens) - 1 : len(sequence.ids) - 1] = True
    ids, exists = ids.to(model.device), exists.to(model.device)
    logits = model.module(input_ids=ids, attention_mask=exists, use_cache=False).logits
    rows, positions = (index.to(logits.device) for index in counts.nonzero(as_tuple=True))
    chosen = logits[rows, positions]
    chosen = chosen.to(torch.promote_types(chosen.dtype, torch.float32))
    targets = ids.to(logits.device)[rows, positions + 1]
    token_nll = torch.nn.functional.cross_entropy(chosen, targets, reduction="none")
    # A product with a constant matrix, for index_add sums in no fixed order on a GPU.
    membership = torch.nn.functional.one_hot(rows, len(sequences)).to(token_nll.dtype)
    return token_nll @ membership


def label_nll(model: LanguageModel, sequences: Sequence[TrainingSequence], batch_size: int = 8) -> float:
    """Return how unlikely a model finds the labels: the mean over sequences of the mean over label tokens.

    Dropout is off while it runs, and no gradients are kept.

    Args:
        model: The model.
        sequences: N sequences of begin-of-sequence, input and label.
        batch_size: Sequences per forward; changes memory and time only.

    Raises:
        UserError: If there is no sequence, or one does not fit the model.
    """
    check_sequences(model, sequences)
    by_length = sorted(sequences, key=lambda sequence: len(sequence.ids))
    means = []
    with evaluation_mode(model.module), torch.no_grad():
        for batch in batches(by_length, batch_size if model.family.pads else 1):
            sums = sequence_nll(model, batch, "label").tolist()
            means += [
                value / loss_token_count(sequence, "label")
                for sequence, value in zip(batch, sums, strict=True)
            ]
    return math.fsum(means) / len(means)


def batches(sequences: Sequence[TrainingSequence], size: int) -> Iterator[Sequence[TrainingSequence]]:
    """Yield consecutive runs of so many sequences; the last may be shorter."""
    for start in range(0, len(sequences), size):
        yield sequences[start : start + size]


def check_sequences(model: LanguageModel, sequences: Sequence[TrainingSequence]) -> None:
    """Refuse sequences that a model cannot read.

    Raises:
        UserError: If there is none, one is longer than the context, or a token is outside the vocabulary.
    """
    if not sequences:
        raise UserError("there is no demonstration to take a loss on: give at least one training sequence")
    longest = max(len(sequence.ids) for sequence in sequences)
    if model.context_length is not None and longest > model.context_length:
        raise UserError(
            f"a training sequence has {longest} tokens and {model.name!r} takes {model.context_length}: "
            "leave long records out (--max-record-tokens)"
        )
    vocabulary = model.module.get_input_embeddings().weight.shape[0]  # type: ignore[union-attr]
    highest = max(max(sequence.ids) for sequence in sequences)
    if highest >= vocabulary:  # type: ignore[operator]
        raise UserError(
            f"a training sequence has the token {highest} and {model.name!r} knows {vocabulary} tokens: "
            "tokenise with the model's own tokenizer"
        )


@contextmanager
def evaluation_mode(module: torch.nn.Module) -> Iterator[None]:
    """Switch dropout off while the context lasts; every submodule gets its own mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _first_target(sequence: TrainingSequence, loss_tokens: LossTokens) -> int:
    return sequence.label_start if loss_tokens == "label" else 1
