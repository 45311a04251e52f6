"""The negative log-likelihood of training sequences: of the label, or of every token after the first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, shown
from ..tasks.prompt_set import TrainingSequence
from .chosen_logits import run_at
from .exclusive_use import exclusive
from .live_module import running_eagerly
from .loading import LanguageModel
from .recipe import LossTokens, LossVocabulary
from .rotation import Regime, fresh_rotation, rotation_of
from .token_ids import require_known_tokens


def loss_token_count(sequence: TrainingSequence, loss_tokens: LossTokens) -> int:
    """Return how many tokens of a sequence the loss is taken on."""
    return len(sequence.ids) - _first_target(sequence, loss_tokens)


@dataclass(frozen=True, eq=False)
class LossBatch:
    """Sequences padded for one forward, with the places where the loss is taken.

    Attributes:
        sequences: The B sequences.
        inputs: Arguments of the model: token ids and which of them are real, ``[B, S]``.
        rows: Sequence of each of the M loss tokens, ``[M]``.
        positions: The token in front of each, whose logits predict it, ``[M]``.
        targets: Each loss token, ``[M]``; its place among the choices where there are some.
        choices: The tokens that each loss token is predicted out of, ``[M, C]``; None is the whole vocabulary.
    """

    sequences: tuple[TrainingSequence, ...]
    inputs: Mapping[str, Any]
    rows: Tensor
    positions: Tensor
    targets: Tensor
    choices: Tensor | None = None

    @property
    def n_tokens(self) -> int:
        """How many tokens the loss is taken on, M."""
        return len(self.targets)


def loss_batch(
    model: LanguageModel,
    sequences: Sequence[TrainingSequence],
    loss_tokens: LossTokens,
    loss_vocabulary: LossVocabulary = "full",
) -> LossBatch:
    """Pad sequences on the right and note where the loss is taken; only those logits will be computed, see `loss_of`.

    Args:
        model: The model they are for.
        sequences: B sequences.
        loss_tokens: Which tokens count.
        loss_vocabulary: What they are predicted out of.

    Raises:
        UserError: If the loss is over the labels alone and a label word is not one token.
    """
    longest = max(len(sequence.ids) for sequence in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    exists = torch.zeros_like(ids)
    counts = torch.zeros(len(sequences), longest - 1, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        exists[row, : len(sequence.ids)] = 1
        counts[row, _first_target(sequence, loss_tokens) - 1 : len(sequence.ids) - 1] = True
    rows, positions = counts.nonzero(as_tuple=True)
    inputs: dict[str, Any] = {
        "input_ids": ids.to(model.device),
        "attention_mask": exists.to(model.device),
        "use_cache": False,
    }
    targets, choices = ids[rows, positions + 1], None
    if loss_vocabulary == "labels":
        choices = torch.tensor([_single_tokens(sequence) for sequence in sequences])
        targets = (choices == targets[:, None]).int().argmax(dim=1)
    return LossBatch(tuple(sequences), inputs, rows, positions, targets, choices)


def _single_tokens(sequence: TrainingSequence) -> list[int]:
    if not sequence.options or any(len(option) != 1 for option in sequence.options):
        raise UserError(
            "a loss over the labels alone needs label words of one token, and they have "
            f"{[len(option) for option in sequence.options]} tokens: take other label words, or loss_vocabulary "
            "full"
        )
    return [option[0] for option in sequence.options]


def loss_of(model: LanguageModel, batch: LossBatch) -> Tensor:
    """Run a batch and return the summed negative log-likelihood of each sequence's loss tokens, ``[B]``."""
    _, logits = run_at(model, batch.inputs, batch.rows, batch.positions)
    return nll_of_logits(logits, batch)


def nll_of_logits(logits: Tensor, batch: LossBatch) -> Tensor:
    """Return the summed negative log-likelihood of each sequence's loss tokens.

    Args:
        logits: What predicts each loss token, ``[M, V]``.
        batch: The batch.

    Returns:
        ``[B]`` fp32 (fp64 for logits in fp64), in nats, differentiable.
    """
    device = logits.device
    rows = batch.rows.to(device)
    chosen = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if batch.choices is not None:
        chosen = chosen.gather(1, batch.choices.to(device))
    token_nll = torch.nn.functional.cross_entropy(chosen, batch.targets.to(device), reduction="none")
    # A product with a constant matrix, for index_add sums in no fixed order on a GPU.
    membership = torch.nn.functional.one_hot(rows, len(batch.sequences)).to(token_nll.dtype)
    with torch.autocast(device.type, enabled=False):
        return token_nll @ membership


def sequence_nll(
    model: LanguageModel, sequences: Sequence[TrainingSequence], loss_tokens: LossTokens
) -> Tensor:
    """Return the summed negative log-likelihood of each sequence's loss tokens.

    Sequences are padded into one forward where the model's rotation allows it, see `forward_groups`.

    Args:
        model: The model; it runs as it stands, with whatever gradients are switched on.
        sequences: B sequences.
        loss_tokens: Which tokens count.

    Returns:
        ``[B]`` fp32 (fp64 for a model in fp64), in nats, differentiable.
    """
    sums: dict[int, Tensor] = {}
    for places in forward_groups(model, [len(sequence.ids) for sequence in sequences], len(sequences)):
        batch = loss_batch(model, [sequences[place] for place in places], loss_tokens)
        with fresh_rotation(model.module):
            sums.update(zip(places, loss_of(model, batch), strict=True))
    return torch.stack([sums[place] for place in range(len(sequences))])


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
    with exclusive(model.module, "a label loss"), evaluation_mode(model.module), torch.no_grad():
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


def forward_groups(model: LanguageModel, lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yield which sequences run in one forward: consecutive runs of those that the model rotates alike.

    Args:
        model: The model.
        lengths: Tokens of each sequence.
        size: Sequences per forward at most.
    """
    rotation = rotation_of(model)
    regimes: dict[Regime, list[int]] = {}
    for place, length in enumerate(lengths):
        regimes.setdefault(rotation.regime(length), []).append(place)
    for places in regimes.values():
        for start in range(0, len(places), size):
            yield places[start : start + size]


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
            f"a training sequence has {longest} tokens and {shown(model.name)} takes {model.context_length}: "
            "leave long records out (--max-record-tokens)"
        )
    require_known_tokens(
        model, (token for sequence in sequences for token in sequence.ids), "a training sequence"
    )


@contextmanager
def evaluation_mode(module: torch.nn.Module) -> Iterator[None]:
    """Switch dropout off, and compiling, and let no forward know of those before it; all modes come back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with fresh_rotation(module), running_eagerly():
            yield
    finally:
        for part, training in modes:
            part.training = training


def _first_target(sequence: TrainingSequence, loss_tokens: LossTokens) -> int:
    return sequence.label_start if loss_tokens == "label" else 1
